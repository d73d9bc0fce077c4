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

use libtest_mimic::Failed;
use pilot_networking::simulate::{self, Call};
use serde_json::{Map, Value};

use crate::harness::Case;

pub(crate) fn check(case: &Case) -> Result<(), Failed> {
    let entries: Vec<Map<String, Value>> = serde_saphyr::from_str(&case.read("calls.yaml")?)?;
    let world = case.world()?;
    let mut report = String::new();
    for (index, mut entry) in entries.into_iter().enumerate() {
        let from = entry.remove("from");
        let want = entry.remove("want");
        let Some(Value::Object(want)) = want else {
            return Err(format!("call {index}: nothing is wanted").into());
        };
        let proxy = world.proxy(from.as_ref().and_then(Value::as_str))?;
        let call: Call =
            serde_json::from_value(Value::Object(entry)).map_err(|error| format!("call {index}: {error}"))?;
        let got = serde_json::to_value(simulate::call(&proxy.config, &call)?)?;
        for (field, wanted) in &want {
            let got = got.get(field).unwrap_or(&Value::Null);
            if got != wanted {
                writeln!(
                    report,
                    "call {index} from {} to {}: {field}\n  want {wanted}\n  got  {got}",
                    proxy.name, call.to
                )?;
            }
        }
    }
    if report.is_empty() {
        Ok(())
    } else {
        Err(report.into())
    }
}
