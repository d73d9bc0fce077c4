//! `calls.yaml`: a list of calls, each with what must become of it.
//!
//! ```yaml
//! - from: frontend            # a proxy of proxy.yaml; not needed when there is only one
//!   to: http://forecast:3002/x
//!   headers: {location: north}
//!   want: {cluster: "outbound|3002|v2|forecast.weather.svc.cluster.local", delay: null}
//! ```
//!
//! Only what `want` mentions is compared; `null` says that there must be no such thing.

use std::fmt::Write;

use pilot_networking::simulate::{self, Call};
use serde_json::{Map, Value};

use crate::world::World;

/// Makes the calls.
pub(crate) fn check(world: &World, text: &str) -> Result<(), String> {
    let entries: Vec<Map<String, Value>> =
        serde_saphyr::from_str(text).map_err(|error| format!("calls.yaml: {error}"))?;
    let mut report = String::new();
    for (index, entry) in entries.into_iter().enumerate() {
        if let Err(reason) = call(world, entry) {
            // Writing to a string cannot fail.
            let _ = writeln!(report, "calls.yaml: call {}: {reason}", index + 1);
        }
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

fn call(world: &World, mut entry: Map<String, Value>) -> Result<(), String> {
    let from = entry.remove("from");
    let Some(Value::Object(want)) = entry.remove("want") else {
        return Err("nothing is wanted".to_owned());
    };
    let call: Call = serde_json::from_value(Value::Object(entry)).map_err(|error| error.to_string())?;

    let proxy = world.proxy(from.as_ref().and_then(Value::as_str))?;
    let outcome = simulate::call(&proxy.config, &call).map_err(|error| error.to_string())?;
    let got = serde_json::to_value(outcome).map_err(|error| error.to_string())?;

    let mut report = String::new();
    for (field, wanted) in &want {
        let got = got.get(field).unwrap_or(&Value::Null);
        if got != wanted {
            let _ = write!(report, "\n  {field}: wanted {wanted}\n  {field}: got    {got}");
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(format!("from {} to {}:{report}", proxy.name, call.to))
    }
}
