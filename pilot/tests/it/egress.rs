//! What callers are told whose requests lead nowhere, by a real Envoy.

use mesh_testing::{Process, eventually, ports};
use serde_json::json;

use crate::PATIENCE;
use crate::galley::Galley;
use crate::pilot::{FRONTEND, Pilot};
use crate::real_envoy::{self, get};

/// Without the fallthrough route and with it.
#[tokio::test(flavor = "multi_thread")]
async fn pain_33_a_blocked_request_is_told_which_object_is_missing() {
    for (flag, status, reason) in [
        (
            "--enableFallthroughRoute=false",
            "404",
            "no route for GET www.unknown.com/a: no Service or ServiceEntry that this workload may see has the host",
        ),
        (
            "--enableFallthroughRoute=true",
            "502",
            "blocked by outboundTrafficPolicy REGISTRY_ONLY: no Service or ServiceEntry that this workload may see",
        ),
    ] {
        let Some(envoy) = mesh_testing::envoy() else {
            return;
        };
        let (port, admin) = (ports::unused().unwrap(), ports::unused().unwrap());
        let mut galley = Galley::start();
        // The application opens connections to the proxy itself.
        galley.apply(&format!(
            "{{apiVersion: networking.istio.io/v1alpha3, kind: Sidecar, metadata: {{name: default, namespace: weather}},
              spec: {{egress: [{{port: {{number: {port}, name: http, protocol: HTTP}}, bind: 127.0.0.1, hosts: ['./*']}}]}}}}"
        ));
        let pilot = Pilot::start(&galley, &[flag]).await;
        std::fs::write(
            pilot.mesh_config(),
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n",
        )
        .unwrap();
        pilot.ready().await;
        let node = json!({"id": FRONTEND, "cluster": "frontend", "metadata": {"INTERCEPTION_MODE": "NONE"}});
        let xds = pilot.addresses.xds.unwrap().port();
        let process = Process::start("envoy", real_envoy::command(&envoy, &node, xds, admin)).unwrap();
        eventually(PATIENCE, async || {
            let answer = get(port, "www.unknown.com", "/a").await?;
            let is_told = answer.contains(reason);
            if answer.starts_with(&format!("HTTP/1.1 {status} ")) && is_told {
                Ok(())
            } else {
                Err(format!("{answer}\n{}", process.log()))
            }
        })
        .await
        .unwrap();
    }
}
