//! The table.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::{ConfigKey, Str};
use mixer_adapter::Handle;
use mixer_attribute::{AttributeId, Bag, Decoder, Text, Track, Untracked, Value, Vocabulary};
use mixer_dynamic::Backend;

use crate::config::{
    Condition, DESTINATION_NAMESPACE, FullName, HeaderOperation, REPORTER_KIND, RuleOutputs, SOURCE_NAMESPACE,
};
use crate::handler::LiveHandler;
use crate::instance::{AnyTemplate, Maker};
use crate::metrics::CallMetrics;

/// All routes of a configuration.
#[derive(Debug)]
pub struct Table {
    /// The configuration that it was made of.
    pub id: u64,
    /// Equal for tables of equal objects and handlers, in whatever process: a verdict of another generation may be wrong by
    /// now.
    pub generation: u64,
    /// How many tables were in force until this one was, itself included: what was found by another one counts no more.
    pub(crate) revision: u64,
    /// The attributes that its programs know.
    pub vocabulary: Arc<Vocabulary>,
    pub(crate) decoder: Decoder,
    pub(crate) selector: Selector,
    /// Conditions, each text once. Routes refer to them by number.
    pub conditions: Vec<Arc<Condition>>,
    /// Handlers with their templates, each pair once. Routes refer to them by number.
    pub destinations: Vec<Destination>,
    /// Routes of namespaces that have no rules of their own.
    pub everywhere: Routes,
    /// Routes of namespaces that have rules, those of everywhere included.
    pub namespaces: BTreeMap<Str, Routes>,
}

/// A handler that serves one template.
#[derive(Debug)]
pub struct Destination {
    /// The handler.
    pub handler: Arc<LiveHandler>,
    /// The template.
    pub template: AnyTemplate,
    pub(crate) target: Target,
    pub(crate) metrics: CallMetrics,
}

/// Who serves a destination.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// An adapter that is built in.
    BuiltIn(Handle),
    /// One of another process.
    Remote(Backend, Arc<mixer_dynamic::Template>),
}

/// What happens to the requests of a namespace, by variety. What a namespace adds nothing to it shares with all others.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Before all others: more attributes.
    pub generators: Vec<Arc<Route>>,
    /// In Check.
    pub checks: Vec<Arc<Route>>,
    /// In Check, by name.
    pub quotas: Vec<Arc<Route>>,
    /// In Report.
    pub reports: Vec<Arc<Route>>,
    /// In Check, when it is passed.
    pub headers: Vec<HeaderRoute>,
}

/// What is sent to one destination.
#[derive(Clone, Debug)]
pub struct Route {
    /// Number of the destination.
    pub destination: usize,
    /// What is sent.
    pub groups: Vec<Group>,
}

/// Instances that are sent under one condition.
#[derive(Clone, Debug)]
pub struct Group {
    /// Number of the condition; `None`: always.
    pub condition: Option<usize>,
    /// The instances.
    pub instances: Vec<RoutedInstance>,
}

/// An instance of a rule.
#[derive(Clone, Debug)]
pub struct RoutedInstance {
    /// Its full name.
    pub name: FullName,
    /// The rule that sends it.
    pub rule: Arc<ConfigKey>,
    /// The action of the rule that sends it.
    pub action: usize,
    pub(crate) maker: Maker,
}

/// What happens to headers under one condition.
#[derive(Clone, Debug)]
pub struct HeaderRoute {
    /// Number of the condition; `None`: always.
    pub condition: Option<usize>,
    /// The rule.
    pub rule: Arc<ConfigKey>,
    /// What happens.
    pub operations: Vec<Arc<HeaderOperation>>,
    /// What actions of the rule put out for that.
    pub outputs: Option<Arc<RuleOutputs>>,
}

/// The attributes that decide about the namespace of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) reporter: Option<AttributeId>,
    pub(crate) destination: Option<AttributeId>,
    pub(crate) source: Option<AttributeId>,
}

// === impl Table ===

impl Table {
    /// A table without routes.
    #[must_use]
    pub fn empty(id: u64, vocabulary: Arc<Vocabulary>) -> Self {
        Self {
            id,
            generation: 0,
            revision: 0,
            decoder: Decoder::new(Arc::clone(&vocabulary)),
            selector: Selector {
                reporter: vocabulary.id(REPORTER_KIND),
                destination: vocabulary.id(DESTINATION_NAMESPACE),
                source: vocabulary.id(SOURCE_NAMESPACE),
            },
            vocabulary,
            conditions: Vec::new(),
            destinations: Vec::new(),
            everywhere: Routes::default(),
            namespaces: BTreeMap::new(),
        }
    }

    /// The routes of a request (`spec 02` §9.6.2).
    pub fn routes(&self, bag: &Bag<'_>, track: &mut impl Track) -> &Routes {
        let namespace = self.selector.namespace(bag, track);
        self.namespaces.get(&*namespace).unwrap_or(&self.everywhere)
    }

    /// The namespace whose rules count for a request.
    pub(crate) fn namespace(&self, bag: &Bag<'_>) -> String {
        self.selector.namespace(bag, &mut Untracked).to_string()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::empty(0, Arc::default())
    }
}

// === impl Selector ===

impl Selector {
    fn namespace<'r>(self, bag: &Bag<'r>, track: &mut impl Track) -> Text<'r> {
        let namespace = match text(bag, self.reporter, track).as_deref() {
            None | Some("inbound") => self.destination,
            Some("outbound") => self.source,
            Some(_) => return Text::default(),
        };
        text(bag, namespace, track).unwrap_or_default()
    }
}

fn text<'r>(bag: &Bag<'r>, id: Option<AttributeId>, track: &mut impl Track) -> Option<Text<'r>> {
    let id = id?;
    let value = bag.get(id);
    track.attribute(id, value.is_some());
    match value {
        Some(Value::String(text)) => Some(text.clone()),
        _ => None,
    }
}
