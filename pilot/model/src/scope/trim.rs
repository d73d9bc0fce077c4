//! What a Sidecar leaves of a view (`R-SC-1`, `R-SC-5`).

use std::sync::Arc;

use mesh_config::Str;

use super::{Egress, ScopedView, Trimmed};
use crate::sidecar::Imports;
use crate::snapshot::{ServiceTable, VirtualServiceTable};
use crate::{EgressListener, Sidecar, Versioned, Warning, WarningKind};

// === impl ScopedView ===

impl ScopedView {
    /// What proxies with a Sidecar see of what their namespace does.
    pub(crate) fn with_sidecar(whole: &Arc<Self>, sidecar: &Versioned<Sidecar>) -> Self {
        let listeners = match &sidecar.egress {
            Some(listeners) if !listeners.iter().all(EgressListener::is_default) || listeners.is_empty() => {
                listeners
            }
            // Nothing is left out, so everything can be shared.
            _ => {
                return Self {
                    sidecar: Some(sidecar.clone()),
                    ..Self::clone(whole)
                };
            }
        };
        let import = |listeners: &[EgressListener]| {
            let mut imports = Imports::default();
            for listener in listeners {
                listener.hosts.resolve(whole.namespace(), &mut imports);
            }
            Self::trim(whole, sidecar, imports)
        };
        let mut all = import(listeners);
        let egress = match &listeners[..] {
            [only] => Arc::from([Egress {
                listener: only.clone(),
                view: Arc::new(all.clone()),
            }]),
            listeners => listeners
                .iter()
                .map(|listener| Egress {
                    listener: listener.clone(),
                    view: Arc::new(import(std::slice::from_ref(listener))),
                })
                .collect(),
        };
        if let Some(trimmed) = &mut all.trimmed {
            trimmed.egress = egress;
        }
        all
    }

    /// What is wrong with the Sidecar of the proxies.
    pub fn sidecar_warnings(&self) -> Vec<Warning> {
        let Some(sidecar) = &self.sidecar else {
            return Vec::new();
        };
        let problems = sidecar.problems.iter().map(|reason| Warning {
            object: sidecar.key.clone(),
            kind: WarningKind::Unsupported,
            reason: reason.clone(),
        });
        let overruled = self.sidecars.overruled_by(sidecar).map(|key| Warning {
            object: key.clone(),
            kind: WarningKind::DuplicateSidecar,
            reason: format!(
                "{} is about the whole namespace already; this one is ignored",
                sidecar.key
            ),
        });
        problems.chain(overruled).collect()
    }

    /// What is imported of a view. DestinationRules are found through the services that they are about.
    fn trim(whole: &Arc<Self>, sidecar: &Versioned<Sidecar>, imports: Imports) -> Self {
        let services = match imports.namespaces() {
            Some(namespaces) => imported_services(whole, &imports, namespaces),
            None => ServiceTable::new(
                whole.services.rev(),
                whole
                    .services()
                    .filter(|service| imports.contains(&service.id.namespace, &service.id.host)),
            ),
        };
        let virtual_services = whole.mesh_virtual_services().filter(|object| {
            let mut hosts = object.hosts.iter();
            hosts.any(|host| imports.contains(&object.key.namespace, host))
        });
        let mut view = Self {
            services: Arc::new(services),
            virtual_services: Arc::new(VirtualServiceTable::new(
                whole.virtual_services.rev(),
                virtual_services,
            )),
            differing_hosts: Arc::default(),
            serviceless_hosts: Arc::default(),
            derived: Arc::default(),
            derived_from_services: Arc::default(),
            sidecar: Some(sidecar.clone()),
            trimmed: Some(Trimmed {
                whole: Arc::clone(whole),
                imports: Arc::new(imports),
                egress: Arc::default(),
            }),
            ..Self::clone(whole)
        };
        view.has_own_virtual_services = view.find_own_virtual_services();
        view
    }
}

/// The imported services of a few namespaces: the others are not even looked at.
fn imported_services<'a>(
    whole: &ScopedView,
    imports: &Imports,
    namespaces: impl Iterator<Item = &'a Str>,
) -> ServiceTable {
    let imported = namespaces
        .flat_map(|namespace| whole.services.in_namespace(namespace))
        .filter(|service| {
            service.is_visible_in(whole.namespace())
                && imports.contains(&service.id.namespace, &service.id.host)
        });
    ServiceTable::new(whole.services.rev(), imported)
}
