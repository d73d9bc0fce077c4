//! The fields of the templates, in the order of their .proto files, and what each must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::adapter::template::kubernetes;
use mesh_api::{
    apikey, authorization, checknothing, edge, listentry, logentry, metric, quota, reportnothing, tracespan,
};
use mixer_attribute::Track;

use super::BuildError;
use super::field::{Compiler, Field, FieldMap, Reader};
use crate::instance::{
    Action, ApiKey, Authorization, CheckNothing, Edge, Kubernetes, ListEntry, LogEntry, Metric, Quota,
    ReportNothing, Subject, TraceSpan,
};

/// Fields of one message: what they are made of, their instance, and the message of the types of those that may be of
/// any. After the names of fields stand the methods of [`Compiler`] and [`Reader`] that do the work. `[name]`: instances
/// have a name.
macro_rules! template {
    (
        $fields:ident: $param:path => $instance:ident $([$name:ident])?, $types:path { $($typed:ident),* }
        $($field:ident: $kind:ident,)*
    ) => {
        #[derive(Debug)]
        pub(super) struct $fields { $($field: template!(@ $kind)),* }

        #[allow(unused_variables, reason = "templates without fields")]
        impl $fields {
            pub(super) fn compile(param: &$param, compiler: &mut Compiler<'_>) -> Self {
                Self { $($field: compiler.$kind(stringify!($field), &param.$field)),* }
            }

            pub(super) fn types(&self) -> $types {
                $types { $($typed: self.$typed.wire_type()),* }
            }

            pub(super) fn build<'r>(
                &'r self,
                read: &mut Reader<'_, 'r, impl Track>,
            ) -> Result<$instance<'r>, BuildError> {
                Ok($instance {
                    $($name: read.name,)?
                    $($field: read.$kind(&self.$field)?),*
                })
            }
        }
    };
    (@ fields) => { Arc<FieldMap> };
    (@ $kind:ident) => { Field };
}

template! {
    ApiKeyFields: apikey::InstanceParam => ApiKey [name], apikey::Type {}
    api: text,
    api_version: text,
    api_operation: text,
    api_key: text,
    timestamp: time,
}

template! {
    SubjectFields: authorization::SubjectInstanceParam => Subject, authorization::SubjectType { properties }
    user: text,
    groups: text,
    properties: fields,
}

template! {
    ActionFields: authorization::ActionInstanceParam => Action, authorization::ActionType { properties }
    namespace: text,
    service: text,
    method: text,
    path: text,
    properties: fields,
}

template! {
    CheckNothingFields: checknothing::InstanceParam => CheckNothing [name], checknothing::Type {}
}

template! {
    EdgeFields: edge::InstanceParam => Edge [name], edge::Type {}
    timestamp: time,
    source_workload_namespace: text,
    source_workload_name: text,
    source_owner: text,
    source_uid: text,
    destination_workload_namespace: text,
    destination_workload_name: text,
    destination_owner: text,
    destination_uid: text,
    destination_service_namespace: text,
    destination_service_name: text,
    context_protocol: text,
    api_protocol: text,
}

template! {
    KubernetesInput: kubernetes::InstanceParam => Kubernetes [name], kubernetes::Type {}
    source_uid: text,
    source_ip: address,
    destination_uid: text,
    destination_ip: address,
    destination_port: number,
}

template! {
    ListEntryFields: listentry::InstanceParam => ListEntry [name], listentry::Type { value }
    value: value,
}

template! {
    LogEntryFields: logentry::InstanceParam => LogEntry [name], logentry::Type { variables, monitored_resource_dimensions }
    variables: fields,
    timestamp: time,
    severity: text,
    monitored_resource_type: text,
    monitored_resource_dimensions: fields,
}

template! {
    MetricFields: metric::InstanceParam => Metric [name], metric::Type { value, dimensions, monitored_resource_dimensions }
    value: value,
    dimensions: fields,
    monitored_resource_type: text,
    monitored_resource_dimensions: fields,
}

template! {
    QuotaFields: quota::InstanceParam => Quota [name], quota::Type { dimensions }
    dimensions: fields,
}

template! {
    ReportNothingFields: reportnothing::InstanceParam => ReportNothing [name], reportnothing::Type {}
}

template! {
    TraceSpanFields: tracespan::InstanceParam => TraceSpan [name], tracespan::Type { span_tags }
    trace_id: text,
    span_id: text,
    parent_span_id: text,
    span_name: text,
    start_time: time,
    end_time: time,
    span_tags: fields,
    http_status_code: number,
    client_span: flag,
    rewrite_client_span_id: flag,
    source_name: text,
    source_ip: address,
    destination_name: text,
    destination_ip: address,
    request_size: number,
    request_total_size: number,
    response_size: number,
    response_total_size: number,
    api_protocol: text,
}

/// Two messages in one, each of which may be missing.
#[derive(Debug)]
pub(super) struct AuthorizationFields {
    subject: Option<SubjectFields>,
    action: Option<ActionFields>,
}

/// What is asked of the adapter; what becomes of its answer is compiled apart.
#[derive(Debug)]
pub(super) struct KubernetesFields {
    input: KubernetesInput,
    pub(super) attribute_bindings: BTreeMap<String, String>,
}

// === impl AuthorizationFields ===

impl AuthorizationFields {
    pub(super) fn compile(param: &authorization::InstanceParam, compiler: &mut Compiler<'_>) -> Self {
        let (subject, action) = (&param.subject, &param.action);
        Self {
            subject: compiler.within("subject.", |compiler| {
                let subject = subject.as_ref();
                subject.map(|subject| SubjectFields::compile(subject, compiler))
            }),
            action: compiler.within("action.", |compiler| {
                let action = action.as_ref();
                action.map(|action| ActionFields::compile(action, compiler))
            }),
        }
    }

    pub(super) fn types(&self) -> authorization::Type {
        authorization::Type {
            subject: self.subject.as_ref().map(SubjectFields::types),
            action: self.action.as_ref().map(ActionFields::types),
        }
    }

    pub(super) fn build<'r>(
        &'r self,
        read: &mut Reader<'_, 'r, impl Track>,
    ) -> Result<Authorization<'r>, BuildError> {
        let subject = self.subject.as_ref().map(|subject| subject.build(read));
        let subject = subject.transpose()?;
        let action = self.action.as_ref().map(|action| action.build(read));
        Ok(Authorization {
            name: read.name,
            subject,
            action: action.transpose()?,
        })
    }
}

// === impl KubernetesFields ===

impl KubernetesFields {
    pub(super) fn compile(param: &kubernetes::InstanceParam, compiler: &mut Compiler<'_>) -> Self {
        Self {
            input: KubernetesInput::compile(param, compiler),
            attribute_bindings: param.attribute_bindings.clone(),
        }
    }

    pub(super) fn types(&self) -> kubernetes::Type {
        self.input.types()
    }

    pub(super) fn build<'r>(
        &'r self,
        read: &mut Reader<'_, 'r, impl Track>,
    ) -> Result<Kubernetes<'r>, BuildError> {
        self.input.build(read)
    }
}
