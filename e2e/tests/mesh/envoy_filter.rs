//! Filters of users among our own (P12.6).

use anyhow::ensure;

use crate::support::fixture::WEATHER;
use crate::support::rule::object;

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/weather";

/// Lua that adds a header to responses.
fn lua(name: &str, conditions: &str, labels: &str) -> String {
    object(
        "EnvoyFilter",
        "weather",
        name,
        &format!(
            "{{workloadLabels: {labels}, filters: [{{listenerMatch: {{{conditions}}},
               insertPosition: {{index: BEFORE, relativeTo: envoy.filters.http.router}}, filterType: HTTP, filterName: envoy.filters.http.lua,
               filterConfig: {{inlineCode: \"function envoy_on_response(handle) handle:headers():add('x-{name}', 'seen') end\"}}}}]}}"
        ),
    )
}

#[test]
fn p12_6_filters_of_inbound_and_outbound_listeners_and_gateways_see_requests() {
    WEATHER.run(async |mesh| {
        let caller = mesh.from(FRONTEND);
        let inbound = lua(
            "inbound",
            "listenerType: SIDECAR_INBOUND, portNumber: 3002",
            "{app: forecast}",
        );
        let outbound = lua(
            "outbound",
            "listenerType: SIDECAR_OUTBOUND, portNumber: 3002",
            "{app: frontend}",
        );
        let edge = lua("edge", "listenerType: GATEWAY", "{istio: ingressgateway}");
        mesh.apply(&(inbound + &outbound + &edge)).await;
        mesh.eventually(
            "the caller sees both sidecars' headers and not the gateway's",
            async || {
                let answer = caller.get(FORECAST, &[]).await?;
                let seen = ["x-inbound", "x-outbound", "x-edge"].map(|name| answer.header(name).to_owned());
                ensure!(seen == ["seen", "seen", ""], "{}: {seen:?}", answer.status);
                Ok(())
            },
        )
        .await;
        mesh.eventually("a client outside sees the gateway's header alone", async || {
            let answer = mesh.get("/api/weather", &[]).await?;
            let seen = ["x-inbound", "x-outbound", "x-edge"].map(|name| answer.header(name).to_owned());
            ensure!(
                answer.status == 200 && seen == ["", "", "seen"],
                "{}: {seen:?}",
                answer.status
            );
            Ok(())
        })
        .await;

        // One that is aimed at a port that nobody has.
        let elsewhere = lua(
            "elsewhere",
            "listenerType: SIDECAR_OUTBOUND, portNumber: 1",
            "{app: frontend}",
        );
        mesh.apply(&elsewhere).await;
        mesh.withdraw("EnvoyFilter", "weather", "outbound").await;
        mesh.eventually("a filter that is withdrawn is gone", async || {
            let answer = caller.get(FORECAST, &[]).await?;
            let seen = ["x-inbound", "x-outbound", "x-elsewhere"].map(|name| answer.header(name).to_owned());
            ensure!(
                answer.status == 200 && seen == ["seen", "", ""],
                "{}: {seen:?}",
                answer.status
            );
            Ok(())
        })
        .await;
    });
}

/// A filter that every request must pass, at one workload only.
#[test]
fn p12_6_a_filter_can_refuse_requests() {
    WEATHER.run(async |mesh| {
        let rbac = object(
            "EnvoyFilter",
            "weather",
            "deny",
            "{workloadLabels: {app: forecast}, filters: [{listenerMatch: {listenerType: SIDECAR_INBOUND}, filterType: HTTP,
               filterName: envoy.filters.http.rbac, filterConfig: {rules: {action: DENY, policies: {jason: {
                 permissions: [{any: true}], principals: [{header: {name: end-user, stringMatch: {exact: jason}}}]}}}}}]}",
        );
        mesh.apply(&rbac).await;
        let caller = mesh.from(FRONTEND);
        mesh.eventually("jason is refused and mary is not", async || {
            let jason = caller.get(FORECAST, &[("end-user", "jason")]).await?;
            let mary = caller.get(FORECAST, &[("end-user", "mary")]).await?;
            ensure!((jason.status, mary.status) == (403, 200), "{} {}", jason.status, mary.status);
            Ok(())
        })
        .await;
    });
}
