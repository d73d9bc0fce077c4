//! Where user filters stand among our own.

use std::collections::BTreeSet;

use mesh_api::Any;
use mesh_api::envoy::config::listener::v3::{Filter, FilterChain, filter};
use mesh_api::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use mesh_api::istio::networking::v1alpha3::envoy_filter::InsertPosition;
use mesh_api::istio::networking::v1alpha3::envoy_filter::insert_position::Index;
use mesh_config::ConfigKey;
use pilot_model::Warning;

use super::extension::Place;
use super::{UserFilter, UserFilters, takes};
use crate::origin;

// === impl UserFilters ===

impl UserFilters {
    /// Inserts them into filter chains, one after the other.
    pub(crate) fn insert_into<'a>(
        &self,
        chains: impl IntoIterator<Item = &'a mut FilterChain>,
        warnings: &mut Vec<Warning>,
    ) {
        if self.0.is_empty() {
            return;
        }
        for chain in chains {
            self.insert(&mut chain.filters, warnings);
            let objects: BTreeSet<&ConfigKey> = self.objects().map(|object| &object.key).collect();
            origin::add(&mut chain.metadata, objects);
        }
    }

    /// Inserts them into one filter chain. Its last filter ends it and stays last.
    fn insert(&self, filters: &mut Vec<Filter>, warnings: &mut Vec<Warning>) {
        let mut manager = if self.0.is_empty() {
            None
        } else {
            connection_manager(filters)
        };
        let mut manager_changed = false;
        for user in &*self.0 {
            let Some(spec) = user.spec().filter(|spec| takes(manager.is_some(), spec)) else {
                continue;
            };
            let position = spec.insert_position.as_ref();
            let inserted = match (user.resolved.place, &mut manager) {
                (Place::Http, Some(manager)) => {
                    manager_changed = true;
                    place(&mut manager.http_filters, user.http(), position)
                }
                (Place::Http, None) => Ok(()),
                (Place::Network, _) => place(filters, user.network(), position),
            };
            if let Err(reason) = inserted {
                warnings.push(user.warning(reason));
            }
        }
        if let Some(manager) = manager.filter(|_| manager_changed)
            && let Some(last) = filters.last_mut()
        {
            last.config_type = Some(filter::ConfigType::TypedConfig(Any::pack(&manager)));
        }
    }
}

/// The HTTP connection manager that ends a chain.
fn connection_manager(filters: &[Filter]) -> Option<HttpConnectionManager> {
    match &filters.last()?.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => config.unpack().ok(),
        _ => None,
    }
}

/// Puts a filter into a list whose last one stays last.
fn place<T: Named>(filters: &mut Vec<T>, new: T, position: Option<&InsertPosition>) -> Result<(), String> {
    let end = filters.len().saturating_sub(1);
    let index = position.map_or(Index::First, InsertPosition::index);
    let relative_to = position.map_or("", |position| position.relative_to.as_str());
    let relative_to = &*T::PLACE.todays_name(relative_to);
    let not_found = || {
        let names: Vec<&str> = filters.iter().map(Named::name).collect();
        format!(
            "is left out: there is no {relative_to} to be {} among {}",
            if index == Index::Before { "before" } else { "after" },
            names.join(", ")
        )
    };
    let at = match index {
        Index::First => 0,
        Index::Last => end,
        Index::Before => filters
            .iter()
            .position(|filter| filter.name() == relative_to)
            .ok_or_else(not_found)?,
        Index::After => {
            let other = filters.iter().rposition(|filter| filter.name() == relative_to);
            let other = other.ok_or_else(not_found)?;
            if other == end {
                return Err(format!("is left out: nothing runs after {relative_to}"));
            }
            other + 1
        }
    };
    filters.insert(at, new);
    Ok(())
}

/// A filter of either kind.
trait Named {
    const PLACE: Place;

    fn name(&self) -> &str;
}

impl Named for Filter {
    const PLACE: Place = Place::Network;

    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for HttpFilter {
    const PLACE: Place = Place::Http;

    fn name(&self) -> &str {
        &self.name
    }
}

// === impl UserFilter ===

impl UserFilter {
    fn http(&self) -> HttpFilter {
        HttpFilter {
            name: self.resolved.name.clone(),
            is_optional: self.resolved.is_optional,
            config_type: Some(http_filter::ConfigType::TypedConfig(self.resolved.config.clone())),
            ..HttpFilter::default()
        }
    }

    fn network(&self) -> Filter {
        Filter {
            name: self.resolved.name.clone(),
            config_type: Some(filter::ConfigType::TypedConfig(self.resolved.config.clone())),
        }
    }
}
