//! What people write where text is wanted.

use prost_reflect::FieldDescriptor;

use super::Choices;

/// The longest label that a DNS name may hold.
const LONG_LABEL: &str = "the-quick-brown-fox-jumps-over-the-lazy-dog-and-then-once-again";
/// A DNS name of 255 characters.
const LONG_HOST: &str = "the-quick-brown-fox-jumps-over-the-lazy-dog-and-then-once-again.\
    the-quick-brown-fox-jumps-over-the-lazy-dog-and-then-once-again.\
    the-quick-brown-fox-jumps-over-the-lazy-dog-and-then-once-again.\
    the-quick-brown-fox-jumps-over-the-lazy-dog.and-then-on.example";
/// Lengths around those that Envoy has a limit at.
const LENGTHS: &[usize] = &[256, 1_024, 16_384, 16_385, 70_000];

const SERVICES: &[&str] = &[
    "web",
    "api",
    "db",
    "web.weather.svc.cluster.local",
    "headless.weather.svc.cluster.local",
    "*.weather.svc.cluster.local",
    "www.example.com",
    "*.example.com",
    "ext.example.org",
    "*.org",
    "www.Example.com",
    "nowhere",
    LONG_HOST,
];
/// Hosts that only VirtualServices have.
const HOSTS: &[&str] = &[
    "web",
    "web",
    "api",
    "web.weather.svc.cluster.local",
    "headless.weather.svc.cluster.local",
    "*.weather.svc.cluster.local",
    "www.example.com",
    "*.example.com",
    "*-a.example.com",
    "ext.example.org",
    "*",
    "10.96.0.20",
    "fd00::20",
    LONG_HOST,
];
const ENTRY_HOSTS: &[&str] = &[
    "www.example.com",
    "*.example.com",
    "ext.example.org",
    "db.example.org",
    "*.org",
    "web.weather.svc.cluster.local",
    "a.b",
    LONG_HOST,
];
const SERVER_HOSTS: &[&str] = &[
    "*",
    "www.example.com",
    "*.example.com",
    "weather/*",
    "./www.example.com",
    "*/ext.example.org",
    "10.9.0.1",
    "other/*.example.com",
    "WWW.example.com",
    "*-a.example.com",
    "fd00::1",
    LONG_HOST,
];
const IMPORTS: &[&str] = &[
    "./*",
    "*/*",
    "~/*",
    "weather/*",
    "istio-system/*",
    "*/www.example.com",
    "./web.weather.svc.cluster.local",
    "other/*.example.com",
    "*/*.com",
    "weather/*.weather.svc.cluster.local",
];
const RANGES: &[&str] = &[
    "10.96.0.20",
    "10.96.0.0/16",
    "192.0.2.0/24",
    "192.0.2.7",
    "0.0.0.0/0",
    "fd00::1",
    "fd00::/64",
    "10.1.0.7",
    "127.0.0.1",
    "10.96.0.21/8",
    "::/0",
    "fd00::7/128",
    "255.255.255.255/32",
    "0.0.0.0",
];
/// Addresses of pods and services.
const IPS: &[&str] = &[
    "10.1.0.7",
    "10.1.0.30",
    "10.1.0.31",
    "10.96.0.20",
    "10.96.0.21",
    "fd00::7",
    "fd00::20",
    "192.0.2.7",
    "127.0.0.1",
    "0.0.0.0",
    "",
];
/// What is text to us and something else to Envoy.
const TEXTS: &[&str] = &[
    "a",
    "/",
    "/a/b",
    "x-user",
    "",
    "*",
    "a b",
    "%",
    "100%",
    "%REQ(x)%",
    "%PROTOCOL%",
    "a\r\nb",
    "\u{0}",
    "ü",
    "?a=b",
    "#f",
    ":",
    "host",
    ":path",
    "X-B",
    "/a?b",
    "www.example.com:80",
    "%%",
    "a%b%c",
];
const PATTERNS: &[&str] = &[
    ".*",
    "/a/.*",
    "^(.*?;)?(local=north)(;.*)?",
    "a{1001}",
    "(a{30}){30}",
    r"\Q*\E",
    r"\p{Letter}",
    "(?i)x",
    r"(a)\1",
    "*",
    "",
    r"(?<n>a)",
    "[[:alpha:]]",
    "[a-z]{1,400}",
    "(abc|def){300}",
];

/// A text for a field.
pub(super) fn text(field: &FieldDescriptor, of: &FieldDescriptor, choices: &mut Choices<'_>) -> String {
    let message = of.parent_message();
    let list: &[&str] = match (message.name(), of.name()) {
        ("VirtualService", "hosts") => HOSTS,
        (_, "host" | "sni_hosts") => SERVICES,
        ("ServiceEntry", "hosts") => ENTRY_HOSTS,
        ("Server", "hosts") => SERVER_HOSTS,
        ("IstioEgressListener", "hosts") => IMPORTS,
        (_, "gateways") => &["mesh", "edge", "weather/edge", "istio-system/edge", "other/b"],
        (_, "export_to") => &["*", "*", "."],
        ("ServicePort" | "EndpointPort" | "ContainerPort", "protocol") => {
            &["TCP", "TCP", "TCP", "UDP", "SCTP", ""]
        }
        ("ServicePort" | "EndpointPort" | "ContainerPort", "name") => &[
            "http", "http-b", "tcp", "https", "tls", "grpc-a", "mongo", "mysql", "redis-x", "", "x",
        ],
        (_, "appProtocol") => &["http", "kubernetes.io/h2c", "tcp", "https", "", "x/y"],
        (_, "clusterIP") => &["10.96.0.20", "10.96.0.21", "None", "", "fd00::20", "x"],
        (_, "type") => &["ClusterIP", "ExternalName", "NodePort", "LoadBalancer", ""],
        (_, "externalName") => &[
            "www.example.com",
            "10.1.0.7",
            "ext.example.org",
            LONG_HOST,
            "a b",
            "",
        ],
        (_, "ip" | "podIP" | "hostIP" | "clusterIPs" | "externalIPs" | "loadBalancerIP") => IPS,
        (_, "phase") => &["Running", "Running", "Pending", "Succeeded", ""],
        ("ObjectReference", "kind") => &["Pod", "Pod", "Node", ""],
        ("ObjectReference", "name") => &["web-0", "web", "a", ""],
        ("ObjectReference", "namespace") => &["weather", "other", ""],
        (_, "from" | "to") => &["r1/*", "r1/z1/*", "r2", "r1/z1/s1", "r2/*", "*", "r1/z2/s1", "r3"],
        (_, "networks") => &["n1", "n2", ""],
        (_, "from_cidr") => RANGES,
        (_, "from_registry") => &["Kubernetes", "Consul"],
        (_, "registry_service_name") => &["ingressgateway.istio-system.svc.cluster.local", "www.example.com"],
        (_, "access_log_file") => &["", "/dev/stdout", "/tmp/log"],
        (_, "access_log_format") => &[
            "",
            "%PROTOCOL%",
            "[%START_TIME%] %REQ(:PATH)%\n",
            "%",
            "%NOBODY%",
            "{\"a\": \"%PROTOCOL%\"}",
            "[1]",
            "%REQ(a",
            "%START_TIME(%Y%)%",
            "{\"a\": 1, \"b\": {\"c\": \"%\"}}",
        ],
        ("ProxyConfig" | "Zipkin" | "Lightstep" | "Datadog", _) => &["zipkin:9411", "10.1.0.9:80", "x"],
        (_, "root_namespace") => &["istio-system", "weather", ""],
        (
            _,
            "default_service_export_to"
            | "default_virtual_service_export_to"
            | "default_destination_rule_export_to",
        ) => &["*", "."],
        (_, "protocol") => &[
            "HTTP", "HTTP", "HTTPS", "TLS", "TCP", "GRPC", "HTTP2", "MONGO", "MYSQL", "REDIS", "UDP",
            "GRPC-Web", "http",
        ],
        ("Port" | "Subset", "name") | (_, "subset") => &[
            "http", "v1", "v2", "tcp", "https", "tls-a", "grpc", "mongo", "http-b", "x", LONG_LABEL,
        ],
        ("PortSelector", "name") => &["http", "tcp"],
        ("TargetSelector", "name") => &["web", "api", "headless"],
        ("Server" | "IstioIngressListener" | "IstioEgressListener", "bind") => &[
            "",
            "",
            "0.0.0.0",
            "10.1.0.7",
            "127.0.0.1",
            "unix:///tmp/a",
            "unix://@b",
            "::1",
            "::",
        ],
        ("Server", "default_endpoint") => &["127.0.0.1:8080", "unix:///tmp/s", "", "x"],
        (_, "default_endpoint") => &[
            "127.0.0.1:8080",
            ":9090",
            "unix:///tmp/s",
            "unix://@s",
            "127.0.0.1:1",
        ],
        ("Endpoint", "address") => &[
            "10.1.0.30",
            "192.0.2.7",
            "ext.example.org",
            "unix:///tmp/e",
            "fd00::9",
            "db.example.org",
            "::1",
            "unix://@e",
            LONG_HOST,
        ],
        (_, "addresses" | "address" | "destination_subnets" | "source_subnet") => RANGES,
        (_, "locality") => &["r1/z1/s1", "r1/z2", "r2", "", "/", "a/b/c/d"],
        (_, "network") => &["", "n1", "n2"],
        (_, "retry_on") => &[
            "5xx",
            "gateway-error,503",
            "connect-failure,refused-stream",
            "429",
            "cancelled",
        ],
        (_, "allow_methods") => &["GET", "POST", "OPTIONS", "*"],
        (_, "server_certificate" | "client_certificate") => &["/etc/certs/cert-chain.pem", "/etc/b/cert.pem"],
        (_, "private_key") => &["/etc/certs/key.pem", "/etc/b/key.pem"],
        (_, "ca_certificates") => &["/etc/certs/root-cert.pem", "/etc/b/root.pem"],
        (_, "credential_name") => &["", "", "a", "b.c", "kubernetes://a"],
        (_, "subject_alt_names") => &["spiffe://cluster.local/ns/a/sa/b", "www.example.com", "*.x", ""],
        (_, "cipher_suites") => &[
            "ECDHE-RSA-AES256-GCM-SHA384",
            "AES128-SHA",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "nonsense",
            "",
        ],
        (_, "sni") => &["www.example.com", "outbound_.80_._.web", "", "a b"],
        (_, "port_name_prefix") => &["http", "TCP", "", "grpc"],
        (_, "relative_to") => &[
            "envoy.filters.http.router",
            "envoy.filters.http.cors",
            "envoy.router",
            "mixer",
            "envoy.filters.network.tcp_proxy",
            "envoy.filters.network.http_connection_manager",
        ],
        (_, "regex") => PATTERNS,
        // Keys of conditions on headers, names of cookies and the like.
        _ if field.name() == "key" => &[
            "x-user",
            "cookie",
            "X-B",
            ":authority",
            "a b",
            "host",
            "",
            ":path",
        ],
        _ if choices.chance(2) => return "x".repeat(*choices.one_of(LENGTHS)),
        _ => TEXTS,
    };
    (*choices.one_of(list)).to_owned()
}
