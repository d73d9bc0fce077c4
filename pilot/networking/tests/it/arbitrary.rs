//! VirtualServices that no validation has seen.

mod l4;

use std::collections::BTreeMap;

use mesh_api::istio::networking::v1alpha3::headers::HeaderOperations;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::abort::ErrorType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::delay::HttpDelayType;
use mesh_api::istio::networking::v1alpha3::http_fault_injection::{Abort, Delay};
use mesh_api::istio::networking::v1alpha3::port_selector::Port;
use mesh_api::istio::networking::v1alpha3::string_match::MatchType;
use mesh_api::istio::networking::v1alpha3::{
    self, CorsPolicy, Destination, Headers, HttpFaultInjection, HttpMatchRequest, HttpRedirect, HttpRetry,
    HttpRewrite, HttpRoute, HttpRouteDestination, IstioEgressListener, IstioIngressListener, Percent,
    PortSelector, Sidecar, StringMatch, VirtualService,
};
use proptest::collection::{btree_map, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use prost_types::Duration;

/// Any content that decodes.
pub(crate) fn virtual_service() -> impl Strategy<Value = VirtualService> {
    let gateways = select(vec![
        "mesh",
        "edge",
        "weather/edge",
        "./edge",
        "other/edge",
        "",
        "*",
        "a.b.c",
    ]);
    (
        vec(host(), 0..4),
        vec(gateways.prop_map(str::to_owned), 0..3),
        vec(http_route(), 0..4),
        vec(l4::tls_route(), 0..2),
        vec(l4::tcp_route(), 0..2),
        select(vec![
            vec![],
            vec![".".to_owned()],
            vec!["*".to_owned()],
            vec!["x".to_owned()],
        ]),
    )
        .prop_map(|(hosts, gateways, http, tls, tcp, export_to)| VirtualService {
            hosts,
            gateways,
            http,
            tls,
            tcp,
            export_to,
        })
}

fn host() -> impl Strategy<Value = String> {
    let known = select(vec![
        "web",
        "api",
        "web.weather.svc.cluster.local",
        "*.weather.svc.cluster.local",
        "www.example.com",
        "WWW.Example.com",
        "*.example.com",
        "*",
        "",
        "10.96.0.20",
        "fd00::1",
        "[fd00::1]",
        "foo*",
        "*foo",
        "a*b.com",
        "a b",
        "a\nb",
        "x:80",
        "..",
        "weather",
        "web.weather",
        "web.weather.svc",
        "svc.cluster.local",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 2 => "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}", 1 => ".{0,6}"]
}

/// Values as people write them, as they should not, and anything.
fn text() -> impl Strategy<Value = String> {
    let known = select(vec![
        "",
        "/",
        "*",
        "a",
        "/a/b",
        "a b",
        "%",
        "100%",
        "%REQ(x)%",
        "%PROTOCOL%",
        "\0",
        "a\r\nb",
        "ü",
        "?a=b",
        "#f",
        ":",
        "host",
        ":path",
        "x-a",
        "X-B",
        "x_c",
        "/a?b",
        "\t",
        "%%",
        "a%b%c",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => ".{0,8}", 1 => "/[a-z/]{0,8}"]
}

fn pattern() -> impl Strategy<Value = String> {
    let known = select(vec![
        ".*",
        "*",
        "",
        "^(.*?;)?(local=north)(;.*)?",
        "(?!a)b",
        r"(a)\1",
        r"\Q*\E",
        "[[:foo:]]",
        r"\p{Letter}",
        "a{1001}",
        "(a{30}){30}",
        "(?i)x",
        "[z-a]",
        r"\C",
        r"(?<n>a)",
        "a**",
        r"\pL{200}",
    ]);
    prop_oneof![2 => known.prop_map(str::to_owned), 3 => r"[a-c0-9(){}\[\]*+?|\\^$.,:!<>=PpQEdwsiU-]{0,12}", 1 => ".{0,6}"]
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    let kind = prop_oneof![
        text().prop_map(|text| Some(MatchType::Exact(text))),
        text().prop_map(|text| Some(MatchType::Prefix(text))),
        pattern().prop_map(|pattern| Some(MatchType::Regex(pattern))),
        Just(None),
    ];
    kind.prop_map(|match_type| StringMatch { match_type })
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3)
}

fn duration() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![4 => 0..20_i64, 1 => select(vec![i64::MIN, -1, 315_576_000_000, 9_223_372_037, i64::MAX])];
    let nanos = prop_oneof![4 => Just(0), 1 => 0..1_000_000_000, 1 => any::<i32>()];
    (seconds, nanos).prop_map(|(seconds, nanos)| Duration { seconds, nanos })
}

fn percent() -> impl Strategy<Value = Percent> {
    let value = prop_oneof![
        0.0..100.0,
        select(vec![-1.0, 1e300, f64::NAN, f64::INFINITY, 0.00001])
    ];
    value.prop_map(|value| Percent { value })
}

fn http_route() -> impl Strategy<Value = HttpRoute> {
    let actions = (
        vec(http_match(), 0..4),
        vec(http_destination(), 0..4),
        weighted(
            0.1,
            (text(), text()).prop_map(|(uri, authority)| HttpRedirect { uri, authority }),
        ),
        weighted(
            0.2,
            (text(), text()).prop_map(|(uri, authority)| HttpRewrite { uri, authority }),
        ),
        weighted(0.3, duration()),
        weighted(0.3, retries()),
    );
    let extras = (
        weighted(0.2, fault()),
        weighted(0.2, destination()),
        weighted(0.2, cors()),
        weighted(0.3, headers()),
        texts(),
        vec(text(), 0..2),
    );
    (actions, extras).prop_map(|(actions, extras)| {
        let (r#match, route, redirect, rewrite, timeout, retries) = actions;
        let (fault, mirror, cors_policy, headers, append_request_headers, remove_response_headers) = extras;
        #[expect(deprecated, reason = "1.1 still accepts the old fields")]
        HttpRoute {
            r#match,
            route,
            redirect,
            rewrite,
            timeout,
            retries,
            fault,
            mirror,
            cors_policy,
            headers,
            append_request_headers,
            remove_response_headers,
            ..HttpRoute::default()
        }
    })
}

fn http_match() -> impl Strategy<Value = HttpMatchRequest> {
    let labels = select(vec![
        BTreeMap::new(),
        BTreeMap::from([("app".to_owned(), "web".to_owned())]),
    ]);
    (
        weighted(0.6, string_match()),
        weighted(0.2, string_match()),
        weighted(0.2, string_match()),
        weighted(0.2, string_match()),
        btree_map(text(), string_match(), 0..3),
        select(vec![0, 0, 0, 80, 81, u32::MAX]),
        labels,
        vec(select(vec!["mesh", "edge", ""]).prop_map(str::to_owned), 0..2),
    )
        .prop_map(
            |(uri, scheme, method, authority, headers, port, source_labels, gateways)| HttpMatchRequest {
                uri,
                scheme,
                method,
                authority,
                headers,
                port,
                source_labels,
                gateways,
            },
        )
}

fn destination() -> impl Strategy<Value = Destination> {
    let port = prop_oneof![
        Just(None),
        Just(Some(PortSelector { port: None })),
        any::<u32>().prop_map(|number| Some(PortSelector {
            port: Some(Port::Number(number))
        })),
        text().prop_map(|name| Some(PortSelector {
            port: Some(Port::Name(name))
        })),
    ];
    let subset = prop_oneof![3 => Just(String::new()), 1 => Just("v1".to_owned()), 1 => text()];
    (host(), subset, port).prop_map(|(host, subset, port)| Destination { host, subset, port })
}

fn http_destination() -> impl Strategy<Value = HttpRouteDestination> {
    let weight = prop_oneof![3 => 0..101, 1 => any::<i32>()];
    (
        weighted(0.9, destination()),
        weight,
        weighted(0.3, headers()),
        texts(),
    )
        .prop_map(
            |(destination, weight, headers, append_response_headers)| HttpRouteDestination {
                destination,
                weight,
                headers,
                append_response_headers,
                ..HttpRouteDestination::default()
            },
        )
}

fn headers() -> impl Strategy<Value = Headers> {
    let operations = || {
        (texts(), texts(), vec(text(), 0..2)).prop_map(|(set, add, remove)| HeaderOperations {
            set,
            add,
            remove,
        })
    };
    (weighted(0.7, operations()), weighted(0.5, operations()))
        .prop_map(|(request, response)| Headers { request, response })
}

fn retries() -> impl Strategy<Value = HttpRetry> {
    let on = prop_oneof![
        Just("5xx,gateway-error".to_owned()),
        Just("503, 99999999999,,x".to_owned()),
        Just("429,4000000000,-1".to_owned()),
        text()
    ];
    (prop_oneof![0..5, any::<i32>()], weighted(0.5, duration()), on).prop_map(
        |(attempts, per_try_timeout, retry_on)| HttpRetry {
            attempts,
            per_try_timeout,
            retry_on,
        },
    )
}

fn fault() -> impl Strategy<Value = HttpFaultInjection> {
    let kind = prop_oneof![
        4 => duration().prop_map(|duration| Some(HttpDelayType::FixedDelay(duration))),
        1 => duration().prop_map(|duration| Some(HttpDelayType::ExponentialDelay(duration))),
        1 => Just(None),
    ];
    #[expect(deprecated, reason = "1.1 still accepts the old fields")]
    let delay =
        (kind, weighted(0.5, percent()), any::<i32>()).prop_map(|(http_delay_type, percentage, percent)| {
            Delay {
                percent,
                percentage,
                http_delay_type,
            }
        });
    let status = prop_oneof![200..600, any::<i32>()];
    let kind = prop_oneof![
        4 => status.prop_map(|status| Some(ErrorType::HttpStatus(status))),
        1 => text().prop_map(|text| Some(ErrorType::GrpcStatus(text))),
        1 => Just(None),
    ];
    #[expect(deprecated, reason = "1.1 still accepts the old fields")]
    let abort =
        (kind, weighted(0.5, percent()), any::<i32>()).prop_map(|(error_type, percentage, percent)| Abort {
            percent,
            percentage,
            error_type,
        });
    (weighted(0.7, delay), weighted(0.7, abort))
        .prop_map(|(delay, abort)| HttpFaultInjection { delay, abort })
}

fn cors() -> impl Strategy<Value = CorsPolicy> {
    (
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(text(), 0..3),
        weighted(0.5, duration()),
        any::<Option<bool>>(),
    )
        .prop_map(
            |(allow_origin, allow_methods, allow_headers, expose_headers, max_age, allow_credentials)| {
                CorsPolicy {
                    allow_origin,
                    allow_methods,
                    allow_headers,
                    expose_headers,
                    max_age,
                    allow_credentials,
                }
            },
        )
}

/// Any Sidecar for a whole namespace that decodes.
pub(crate) fn sidecar() -> impl Strategy<Value = Sidecar> {
    (vec(egress(), 0..6), vec(ingress(), 0..5)).prop_map(|(egress, ingress)| Sidecar {
        workload_selector: None,
        ingress,
        egress,
    })
}

fn egress() -> impl Strategy<Value = IstioEgressListener> {
    let hosts = select(vec![
        "*/*",
        "./*",
        "weather/*",
        "~/*",
        "*/web.weather.svc.cluster.local",
        "weather/*.svc.cluster.local",
        "weather",
        "/",
        "",
    ]);
    let hosts = vec(hosts.prop_map(str::to_owned), 0..3);
    (weighted(0.7, listener_port()), bind(), 0..4, hosts).prop_map(|(port, bind, capture_mode, hosts)| {
        IstioEgressListener {
            port,
            bind,
            capture_mode,
            hosts,
        }
    })
}

fn ingress() -> impl Strategy<Value = IstioIngressListener> {
    let endpoint = prop_oneof![
        4 => select(vec!["127.0.0.1:8080", ":8081", "unix:///tmp/app", "unix://@app"]).prop_map(str::to_owned),
        1 => text(),
    ];
    (weighted(0.95, listener_port()), bind(), 0..4, endpoint).prop_map(
        |(port, bind, capture_mode, default_endpoint)| IstioIngressListener {
            port,
            bind,
            capture_mode,
            default_endpoint,
        },
    )
}

fn listener_port() -> impl Strategy<Value = v1alpha3::Port> {
    let number = select(vec![
        0, 0, 80, 81, 443, 3002, 3003, 9000, 15_000, 15_001, 15_002, 15_006, 15_090, 65_535, 70_000,
    ]);
    let protocol = select(vec![
        "HTTP", "HTTP2", "grpc", "TCP", "TLS", "HTTPS", "MONGO", "UDP", "",
    ]);
    (number, protocol, select(vec!["http", "tcp", "a", ""])).prop_map(|(number, protocol, name)| {
        v1alpha3::Port {
            number,
            protocol: protocol.to_owned(),
            name: name.to_owned(),
        }
    })
}

fn bind() -> impl Strategy<Value = String> {
    let known = select(vec![
        "",
        "",
        "",
        "0.0.0.0",
        "127.0.0.1",
        "127.0.0.2",
        "10.1.0.1",
        "10.96.0.20",
        "unix:///tmp/a",
        "unix:///tmp/b",
        "unix://@a",
        "unix://",
        "::1",
    ]);
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => text()]
}
