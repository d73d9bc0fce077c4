//! What is registered: the file of the operator, with what we know better than the file (G8.1, G8.6).

use std::collections::BTreeSet;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    RuleWithOperations, ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use serde_json::Value;

use crate::call;

/// Label of every namespace, kept by the API server itself.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

const GROUP: &str = "admissionregistration.k8s.io/";
const KIND: &str = "ValidatingWebhookConfiguration";

/// The default of the API server, and what a locked-out user waits for.
const TIMEOUT_SECONDS: i32 = 10;

/// The file of `--validation-webhook-config-file`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConfigurationFile {
    metadata: ObjectMeta,
    webhooks: Vec<ValidatingWebhook>,
}

/// Who we are to the API server.
#[derive(Clone, Debug)]
pub(crate) struct Registrant {
    /// Name of the configuration.
    pub(crate) name: String,
    /// Our namespace.
    pub(crate) namespace: String,
    /// What the configuration goes with; unknown as long as we could not ask.
    pub(crate) owner: Option<OwnerReference>,
}

/// What the configuration should be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    metadata: ObjectMeta,
    webhooks: Vec<ValidatingWebhook>,
}

/// The file cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FileError {
    #[error("not YAML: {0}")]
    Yaml(String),
    #[error("{field}: {reason}")]
    Field { field: String, reason: String },
}

fn wrong(field: impl Into<String>, reason: impl Into<String>) -> FileError {
    FileError::Field {
        field: field.into(),
        reason: reason.into(),
    }
}

// === impl ConfigurationFile ===

impl ConfigurationFile {
    /// Reads the text of the file. Both versions of the API that ever were are read: they have the same fields.
    pub(crate) fn parse(text: &str) -> Result<Self, FileError> {
        let value: Value =
            serde_saphyr::from_str(text).map_err(|error| FileError::Yaml(error.to_string()))?;
        let field = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("kind") != KIND {
            return Err(wrong(
                "kind",
                format!("expected {KIND}, found {:?}", field("kind")),
            ));
        }
        let version = field("apiVersion");
        if !matches!(version.strip_prefix(GROUP), Some("v1" | "v1beta1")) {
            return Err(wrong(
                "apiVersion",
                format!("expected {GROUP}v1, found {version:?}"),
            ));
        }
        let mut current = value.clone();
        current["apiVersion"] = format!("{GROUP}v1").into();
        let read: ValidatingWebhookConfiguration =
            serde_json::from_value(current).map_err(|error| wrong("webhooks", error.to_string()))?;
        let understood = serde_json::to_value(&read).map_err(|error| wrong("", error.to_string()))?;
        if let Some(field) = unknown_field(&value, &understood) {
            return Err(wrong(field, "unknown field"));
        }
        let webhooks = read.webhooks.unwrap_or_default();
        check(&webhooks)?;
        Ok(Self {
            metadata: read.metadata,
            webhooks,
        })
    }

    /// What the configuration should be with these authorities (PEM). `whole` says whether it holds the webhooks of the
    /// file, or only the one that our own calls go to, which concerns nobody else.
    pub(crate) fn desired(&self, registrant: &Registrant, authorities: &str, whole: bool) -> Desired {
        let bundle = ByteString(authorities.as_bytes().to_vec());
        let mut webhooks: Vec<_> = self
            .webhooks
            .iter()
            .take(if whole { usize::MAX } else { 0 })
            .cloned()
            .map(|webhook| complete(webhook, &registrant.namespace))
            .collect();
        if let Some(first) = self.webhooks.first() {
            webhooks.push(call::webhook(&first.client_config, &registrant.namespace));
        }
        for webhook in &mut webhooks {
            webhook.client_config.ca_bundle = Some(bundle.clone());
        }
        Desired {
            metadata: ObjectMeta {
                name: Some(registrant.name.clone()),
                labels: self.metadata.labels.clone(),
                annotations: self.metadata.annotations.clone(),
                owner_references: registrant.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            webhooks,
        }
    }

    /// Whether a configuration holds one of the webhooks of the file.
    pub(crate) fn is_part_of(&self, configuration: &ValidatingWebhookConfiguration) -> bool {
        let names: BTreeSet<_> = self.webhooks.iter().map(|webhook| &webhook.name).collect();
        let webhooks = configuration.webhooks.iter().flatten();
        webhooks.into_iter().any(|webhook| names.contains(&webhook.name))
    }

    /// The host that the API server calls, which the certificate must be for.
    pub(crate) fn host(&self) -> Option<String> {
        let client = &self.webhooks.first()?.client_config;
        match (&client.service, &client.url) {
            (Some(service), _) => Some(format!("{}.{}.svc", service.name, service.namespace)),
            (None, Some(url)) => {
                let url: http::Uri = url.parse().ok()?;
                url.host().map(|host| host.trim_matches(['[', ']']).to_owned())
            }
            (None, None) => None,
        }
    }
}

/// What the API server would refuse later, or nobody could call.
fn check(webhooks: &[ValidatingWebhook]) -> Result<(), FileError> {
    if webhooks.is_empty() {
        return Err(wrong("webhooks", "there is none"));
    }
    let mut names = BTreeSet::from([call::WEBHOOK]);
    for (index, webhook) in webhooks.iter().enumerate() {
        let field = |name: &str| format!("webhooks[{index}].{name}");
        if webhook.name.is_empty() {
            return Err(wrong(field("name"), "is missing"));
        }
        if !names.insert(&webhook.name) {
            return Err(wrong(field("name"), format!("{} is taken", webhook.name)));
        }
        let client = &webhook.client_config;
        if client.service.is_some() == client.url.is_some() {
            return Err(wrong(
                field("clientConfig"),
                "either service or url must be given",
            ));
        }
    }
    Ok(())
}

/// A webhook with everything that the API server would fill in itself, so that it can be compared with what is there.
fn complete(mut webhook: ValidatingWebhook, namespace: &str) -> ValidatingWebhook {
    "None".clone_into(&mut webhook.side_effects);
    webhook.admission_review_versions = vec!["v1".to_owned()];
    webhook.failure_policy.get_or_insert_with(|| "Fail".to_owned());
    webhook
        .match_policy
        .get_or_insert_with(|| "Equivalent".to_owned());
    webhook.timeout_seconds.get_or_insert(TIMEOUT_SECONDS);
    webhook.object_selector.get_or_insert_default();
    if webhook.match_conditions.as_ref().is_some_and(Vec::is_empty) {
        webhook.match_conditions = None;
    }
    for rule in webhook.rules.iter_mut().flatten() {
        rule.scope.get_or_insert_with(|| "*".to_owned());
    }
    let client: &mut WebhookClientConfig = &mut webhook.client_config;
    if let Some(service) = &mut client.service {
        service.port.get_or_insert(443);
    }
    exclude(webhook.namespace_selector.get_or_insert_default(), namespace);
    webhook
}

/// Leaves out the namespaces that must be repairable whatever becomes of us (pain 9).
fn exclude(selector: &mut LabelSelector, namespace: &str) {
    let excluded = BTreeSet::from(["kube-system", namespace]);
    let expression = LabelSelectorRequirement {
        key: NAMESPACE_NAME.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(excluded.into_iter().map(str::to_owned).collect()),
    };
    let expressions = selector.match_expressions.get_or_insert_default();
    if !expressions.contains(&expression) {
        expressions.push(expression);
    }
}

/// The objects of one namespace.
pub(crate) fn only_in(namespace: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Some([(NAMESPACE_NAME.to_owned(), namespace.to_owned())].into()),
        match_expressions: None,
    }
}

/// The creation of objects of one kind.
pub(crate) fn creation_of(group: &str, version: &str, resource: &str) -> RuleWithOperations {
    RuleWithOperations {
        api_groups: Some(vec![group.to_owned()]),
        api_versions: Some(vec![version.to_owned()]),
        operations: Some(vec!["CREATE".to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        scope: Some("Namespaced".to_owned()),
    }
}

/// The first field of a document that was not understood.
fn unknown_field(given: &Value, understood: &Value) -> Option<String> {
    let join = |name: String, rest: String| match rest.as_str() {
        "" => name,
        rest if rest.starts_with('[') => format!("{name}{rest}"),
        rest => format!("{name}.{rest}"),
    };
    match (given, understood) {
        (Value::Object(given), Value::Object(understood)) => given
            .iter()
            .filter(|(_, value)| !value.is_null())
            .find_map(|(name, value)| {
                let found = match understood.get(name) {
                    Some(understood) => unknown_field(value, understood)?,
                    None => String::new(),
                };
                Some(join(name.clone(), found))
            }),
        (Value::Array(given), Value::Array(understood)) => {
            given
                .iter()
                .zip(understood)
                .enumerate()
                .find_map(|(index, (given, understood))| {
                    unknown_field(given, understood).map(|rest| join(format!("[{index}]"), rest))
                })
        }
        _ => None,
    }
}

// === impl Desired ===

impl Desired {
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether a configuration is as it should be. Of others only the webhooks and the owner are ours.
    pub(crate) fn is(&self, configuration: &ValidatingWebhookConfiguration) -> bool {
        configuration.webhooks.as_deref() == Some(&*self.webhooks) && self.owns(configuration)
    }

    /// Whether a configuration has the owner that it should have. One that we do not know may be any.
    pub(crate) fn owns(&self, configuration: &ValidatingWebhookConfiguration) -> bool {
        let owners = &self.metadata.owner_references;
        owners.is_none() || configuration.metadata.owner_references == *owners
    }

    /// Makes a configuration be as it should.
    pub(crate) fn write(&self, configuration: &mut ValidatingWebhookConfiguration) {
        configuration.webhooks = Some(self.webhooks.clone());
        if self.metadata.owner_references.is_some() {
            configuration
                .metadata
                .owner_references
                .clone_from(&self.metadata.owner_references);
        }
    }

    /// A new configuration.
    pub(crate) fn object(&self) -> ValidatingWebhookConfiguration {
        ValidatingWebhookConfiguration {
            metadata: self.metadata.clone(),
            webhooks: Some(self.webhooks.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
