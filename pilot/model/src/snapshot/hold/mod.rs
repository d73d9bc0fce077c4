//! Make before break (pain 5): what a change would break stays in force as it was, until nothing breaks.
//!
//! Two things are held. A VirtualService that is changed to lead where nothing is yet stays in its former form
//! (`routes`). A subset that leaves stays while a VirtualService in force leads to it (`subsets`). What is new is never
//! held: an object that comes for the first time is taken as it is, as in 1.1. What is deleted is never held either,
//! except for subsets, which are only names for pods that still exist.
//!
//! Both are decided anew whenever something is published, by looking at what changed and at what is held.

mod named;
mod routes;
mod subsets;

use std::collections::BTreeMap;

use mesh_config::ConfigKey;

pub(super) use self::subsets::HeldSubset;
use self::{named::NamedSubsets, routes::HeldRoute, subsets::SubsetId};
use super::{DestinationRule, DestinationRuleTable, ServiceTable, VirtualService};
use crate::{ChangeSet, EndpointIndex, Rev, Versioned, Warning, WarningKind};

/// What stays in force although the sources say something else.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// The VirtualServices that changed since the last publication, as they were; `None` did not exist.
    former_routes: Former<VirtualService>,
    /// The same of DestinationRules.
    former_rules: Former<DestinationRule>,
    routes: BTreeMap<ConfigKey, HeldRoute>,
    subsets: BTreeMap<SubsetId, HeldSubset>,
    /// The subsets that VirtualServices in force lead to.
    named: NamedSubsets,
}

type Former<T> = BTreeMap<ConfigKey, Option<Versioned<T>>>;

/// An object as it was; `None` did not exist.
pub(super) enum Form {
    VirtualService(Option<Versioned<VirtualService>>),
    DestinationRule(Option<Versioned<DestinationRule>>),
    /// Of a kind of which nothing is held.
    Other,
}

/// What the sources say.
pub(super) struct Declared<'a> {
    /// DNS suffix of services.
    pub(super) domain: &'a str,
    /// The root namespace.
    pub(super) root: &'a str,
    pub(super) virtual_services: &'a BTreeMap<ConfigKey, Versioned<VirtualService>>,
    pub(super) services: &'a ServiceTable,
    pub(super) rules: &'a DestinationRuleTable,
    pub(super) endpoints: &'a EndpointIndex,
}

// === impl Holds ===

impl Holds {
    /// Notes the form that an object had before it changed.
    pub(super) fn note(&mut self, key: &ConfigKey, former: Form) {
        match former {
            Form::VirtualService(former) => {
                self.former_routes.entry(key.clone()).or_insert(former);
            }
            Form::DestinationRule(former) => {
                self.former_rules.entry(key.clone()).or_insert(former);
            }
            Form::Other => {}
        }
    }

    /// Whether something is held that a change of endpoints may set free.
    pub(super) fn wait_for(&self, changes: &ChangeSet) -> bool {
        let mut routes = self.routes.values();
        !changes.endpoints.is_empty() && routes.any(|held| held.waits_for_endpoints(&changes.endpoints))
    }

    /// Decides what is held from now on. `in_force` are the DestinationRules of the publication before.
    ///
    /// `changes` names afterwards what is different in force. Returns whether other subsets are held than before.
    pub(super) fn settle(
        &mut self,
        declared: &Declared<'_>,
        in_force: Option<&DestinationRuleTable>,
        changes: &mut ChangeSet,
        rev: &mut Rev,
    ) -> bool {
        self.settle_routes(declared, changes);
        self.settle_subsets(declared, in_force, changes, rev)
    }

    /// The form of a VirtualService that is in force.
    pub(super) fn in_force<'a>(
        &'a self,
        object: &'a Versioned<VirtualService>,
    ) -> &'a Versioned<VirtualService> {
        self.routes.get(&object.key).map_or(object, HeldRoute::in_force)
    }

    /// The subsets that stay.
    pub(super) fn subsets(&self) -> impl Iterator<Item = &HeldSubset> {
        self.subsets.values()
    }

    /// All forms of VirtualServices that are or were in force and are not declared any more.
    pub(super) fn virtual_services_mut(&mut self) -> impl Iterator<Item = &mut Versioned<VirtualService>> {
        let former = self.former_routes.values_mut().flatten();
        former.chain(self.routes.values_mut().map(HeldRoute::in_force_mut))
    }

    /// The same of DestinationRules.
    pub(super) fn destination_rules_mut(&mut self) -> impl Iterator<Item = &mut Versioned<DestinationRule>> {
        let former = self.former_rules.values_mut().flatten();
        former.chain(self.subsets.values_mut().map(|held| &mut held.rule))
    }

    /// What is held, and what it waits for.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let held = |object: &ConfigKey, reason| Warning {
            object: object.clone(),
            kind: WarningKind::Held,
            reason,
        };
        let routes = self.routes.iter().map(|(key, route)| held(key, route.reason()));
        let subsets = self
            .subsets
            .keys()
            .map(|id| held(&id.rule, self.named.reason(id)));
        routes.chain(subsets).collect()
    }
}
