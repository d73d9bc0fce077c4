//! Rules of Mixer that name handlers and instances which do not exist: Mixer leaves such actions out in silence.

use mesh_api::istio::policy::v1beta1::Rule;
use mesh_config::{Config, ConfigKey, Kind};

use crate::Known;
use crate::warnings::Warnings;

const GROUP: &str = "config.istio.io";

pub(crate) fn check(known: &Known, config: &Config, spec: &Rule, out: &mut Warnings) {
    let namespace = &*config.meta.key.namespace;
    for (index, action) in spec.actions.iter().enumerate() {
        let field = format!("actions[{index}]");
        if let Some(key) = missing(known, Kind::Handler, namespace, &action.handler) {
            out.say(format!("{field}.handler"), format!("there is no {key}"));
        }
        for (place, instance) in action.instances.iter().enumerate() {
            if let Some(key) = missing(known, Kind::Instance, namespace, instance) {
                out.say(
                    format!("{field}.instances[{place}]"),
                    format!("there is no {key}"),
                );
            }
        }
    }
}

/// What a name stands for, where that is known not to exist.
///
/// `name`, `name.kind` and `name.kind.namespace` are names of the kind that is looked for. Where the kind is that of a
/// template or of an adapter they are names of others, which are not followed.
fn missing(known: &Known, kind: Kind, namespace: &str, name: &str) -> Option<ConfigKey> {
    let parts: Vec<&str> = name.split('.').collect();
    let own = kind.schema().kind;
    let key = match parts.as_slice() {
        [""] => return None,
        [name] => ConfigKey::new(kind, namespace, *name),
        [name, it] if *it == own => ConfigKey::new(kind, namespace, *name),
        [_, it] if Kind::by_name(GROUP, it).is_some() => return None,
        [name, it, other] if *it == own => ConfigKey::new(kind, *other, *name),
        // Whether the second is a namespace or a kind of somebody's own is not ours to guess.
        _ => return None,
    };
    (known.knows_all(&[kind]) && known.get(&key).is_none()).then_some(key)
}
