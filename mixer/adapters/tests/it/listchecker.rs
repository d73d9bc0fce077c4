use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mesh_runtime::Spawner;
use mesh_testing::certificates::Authority;
use mesh_testing::{eventually, ports};
use mixer_adapter::BUILD_LIMIT;
use mixer_adapter::testing::{Compliance, assert_compliance};
use mixer_adapters::listchecker::Listchecker;
use mixer_attribute::Value;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::support::{Running, build};

/// Longer than anything here takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const INTERNAL: i32 = 13;

/// A provider of lists.
#[derive(Clone, Default)]
struct Provider {
    said: Arc<Mutex<Said>>,
    asked: Arc<Mutex<usize>>,
}

#[derive(Clone, Default)]
struct Said {
    status: &'static str,
    headers: &'static str,
    body: &'static str,
}

impl Provider {
    fn says(&self, status: &'static str, headers: &'static str, body: &'static str) {
        *self.said.lock().unwrap() = Said {
            status,
            headers,
            body,
        };
    }

    fn times_asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    /// Serves until the test ends; its port.
    async fn start(&self, tls: Option<TlsAcceptor>) -> u16 {
        let (listener, address) = ports::listen().await.unwrap();
        Spawner::default().spawn("provider", self.clone().accept(listener, tls));
        address.port()
    }

    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let (provider, tls) = (self.clone(), tls.clone());
            Spawner::default().spawn("connection", async move {
                match tls {
                    Some(tls) => provider.answer(tls.accept(stream).await?).await,
                    None => provider.answer(stream).await,
                }
            });
        }
    }

    async fn answer(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        *self.asked.lock().unwrap() += 1;
        let mut said = self.said.lock().unwrap().clone();
        if head.starts_with(b"GET /moved ") {
            said = Said {
                status: "302 Found",
                headers: "location: /list\r\n",
                body: "",
            };
        }
        let Said {
            status,
            headers,
            body,
        } = said;
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

async fn code(list: &Running, value: &str) -> i32 {
    list.list_entry(Some(value.into())).await.status.code
}

async fn becomes(list: &Running, value: &str, expected: i32) {
    eventually(PATIENCE, async || match code(list, value).await {
        code if code == expected => Ok(()),
        code => Err(format!("{value}: {code}")),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn listchecker_complies() {
    let provider = Provider::default();
    provider.says("200 OK", "", "a\nb\n");
    let url = format!("http://127.0.0.1:{}/list", provider.start(None).await);
    let expected = Compliance {
        accepts: vec![
            Json::Null,
            json!({"overrides": ["a"], "blacklist": true, "cachingUseCount": 0, "ttl": "0s"}),
            json!({"providerUrl": url, "refreshInterval": "1s", "ttl": "1s"}),
            json!({"entryType": "IP_ADDRESSES", "overrides": ["10.0.0.0/8", "::1"]}),
            json!({"entryType": "REGEX", "overrides": ["^a"]}),
        ],
        rejects: vec![
            (json!({"providerUrl": "nowhere"}), "providerUrl"),
            (json!({"providerUrl": "ftp://host/list"}), "providerUrl"),
            (json!({"providerUrl": "http:///list"}), "providerUrl"),
            (
                json!({"providerUrl": url, "refreshInterval": "999ms"}),
                "refreshInterval",
            ),
            (
                json!({"providerUrl": url, "refreshInterval": "9s", "ttl": "8s"}),
                "ttl",
            ),
            (json!({"cachingInterval": "-1s"}), "cachingInterval"),
            (
                json!({"entryType": "IP_ADDRESSES", "overrides": ["::1", "x"]}),
                "overrides[1]",
            ),
            (json!({"entryType": "REGEX", "overrides": ["("]}), "overrides[0]"),
            (json!({"entryType": "NUMBERS"}), "entryType"),
        ],
        ..Compliance::default()
    };
    assert_compliance(&Listchecker::default(), &expected).await;
}

/// F-5: addresses in 10.247.0.0/16 pass, also those that are IPv4 in IPv6.
#[tokio::test]
async fn m40_m41_a_range_of_addresses() {
    let params = json!({"overrides": ["10.247.0.0/16"], "blacklist": false, "entryType": "IP_ADDRESSES"});
    let list = build(&Listchecker::default(), params).await;
    for (address, expected) in [
        ("10.247.3.4", OK),
        ("::ffff:10.247.3.4", OK),
        ("10.248.3.4", PERMISSION_DENIED),
        ("::ffff:10.248.3.4", PERMISSION_DENIED),
        ("2001:db8::1", PERMISSION_DENIED),
    ] {
        let value = Value::IpAddress(address.parse().unwrap());
        assert_eq!(
            list.list_entry(Some(value)).await.status.code,
            expected,
            "{address}"
        );
        assert_eq!(code(&list, address).await, expected, "{address}");
    }
    let status = list.list_entry(Some("10.248.3.4".into())).await.status;
    assert_eq!(status.message, "10.248.3.4 is not whitelisted");
    let status = list.list_entry(Some("forecast".into())).await.status;
    assert_eq!(
        (status.code, status.message.as_str()),
        (INVALID_ARGUMENT, "forecast is not a valid IP address")
    );
}

/// F-13: only the frontend may call; whoever has no label is not on the list either.
#[tokio::test]
async fn m88_m89_the_whitelist_of_the_book() {
    let list = build(&Listchecker::default(), json!({"overrides": ["frontend"]})).await;
    let allowed = list.list_entry(Some("frontend".into())).await;
    assert_eq!(allowed.status.code, OK);
    assert_eq!(
        (allowed.valid_duration, allowed.valid_use_count),
        (Duration::from_secs(300), 10_000)
    );
    let denied = list.list_entry(Some("".into())).await.status;
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (PERMISSION_DENIED, " is not whitelisted")
    );
}

#[tokio::test]
async fn a_blacklist_refuses_what_is_on_it() {
    let params = json!({"overrides": ["A"], "blacklist": true, "entryType": "CASE_INSENSITIVE_STRINGS"});
    let list = build(&Listchecker::default(), params).await;
    let denied = list.list_entry(Some("a".into())).await.status;
    assert_eq!(
        (denied.code, denied.message.as_str()),
        (PERMISSION_DENIED, "a is blacklisted")
    );
    assert_eq!(code(&list, "b").await, OK);
}

#[tokio::test]
async fn values_that_are_no_text_are_invalid() {
    let list = build(&Listchecker::default(), json!({"overrides": ["7", "10.0.0.1"]})).await;
    for value in [None, Some(Value::Int64(7)), Some(Value::Bool(true))] {
        let answer = list.list_entry(value.clone()).await;
        assert_eq!(answer.status.code, INVALID_ARGUMENT, "{value:?}");
    }
    // An address is looked up as its text.
    let address = Value::IpAddress("10.0.0.1".parse().unwrap());
    assert_eq!(list.list_entry(Some(address)).await.status.code, OK);
}

/// The list is there with the handler, follows its provider, outlives failures for its time, and is then gone: what is
/// configured counts on.
#[tokio::test]
async fn a_list_follows_its_provider() {
    let provider = Provider::default();
    provider.says("200 OK", "", "a\n\nb\n");
    let url = format!("http://127.0.0.1:{}/moved", provider.start(None).await);
    let params = json!({"providerUrl": url, "refreshInterval": "1s", "ttl": "4s", "overrides": ["always"]});
    let list = build(&Listchecker::default(), params).await;
    for (value, expected) in [("a", OK), ("b", OK), ("always", OK), ("", PERMISSION_DENIED)] {
        // At once, unless the machine takes longer than the list counts.
        becomes(&list, value, expected).await;
    }
    provider.says("200 OK", "", "c\n");
    becomes(&list, "c", OK).await;
    becomes(&list, "a", PERMISSION_DENIED).await;

    provider.says(
        "200 OK",
        "content-type: text/html\r\n",
        "<!DOCTYPE html><html>c</html>",
    );
    let asked = provider.times_asked();
    eventually(PATIENCE, async || {
        (provider.times_asked() > asked)
            .then_some(())
            .ok_or("not asked again")
    })
    .await
    .unwrap();
    becomes(&list, "c", INTERNAL).await;
    let status = list.list_entry(Some("c".into())).await.status;
    assert!(status.message.contains("HTML"), "{}", status.message);
    assert_eq!(code(&list, "always").await, OK);

    provider.says("200 OK", "", "c\n");
    becomes(&list, "c", OK).await;
    list.close().await;
}

/// A provider that is not there, or not well, gives no list; the handler is there and learns it later.
#[tokio::test]
async fn without_a_list_the_last_error_is_the_answer() {
    for (status, headers, body, reason) in [
        ("503 Service Unavailable", "", "", "503"),
        ("200 OK", "", "\u{feff}<html>", "no list"),
        ("200 OK", "", " <HTML><body>sign in</body>", "HTML"),
        ("302 Found", "location: /list\r\n", "", "sent on"),
    ] {
        let provider = Provider::default();
        provider.says(status, headers, body);
        let url = format!("http://127.0.0.1:{}/list", provider.start(None).await);
        let params = json!({"providerUrl": url, "refreshInterval": "1s", "entryType": "IP_ADDRESSES"});
        let list = build(&Listchecker::default(), params).await;
        let answer = list.list_entry(Some("10.0.0.1".into())).await;
        assert_eq!(answer.status.code, INTERNAL);
        assert_eq!(answer.valid_duration, Duration::ZERO);
        let message = answer.status.message;
        assert!(
            message.contains(reason) || message.contains("not a list"),
            "{message}"
        );
        provider.says("200 OK", "", "whitelist: [10.0.0.0/8, '2001:db8::1']\n");
        becomes(&list, "10.0.0.1", OK).await;
        assert_eq!(code(&list, "2001:db8::1").await, OK);
        assert_eq!(code(&list, "2001:db8::2").await, PERMISSION_DENIED);
    }
}

/// A provider that does not speak HTTP, that breaks off or that never ends its answer: a reason, and the handler is
/// there all the same.
#[tokio::test]
async fn hostile_providers_are_told_with_a_reason() {
    let answers = [
        &b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\na\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff\xfe\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"",
    ];
    let asked = answers.map(|answer| async move {
        let (listener, address) = ports::listen().await.unwrap();
        Spawner::default().spawn("provider", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                Spawner::default().spawn("connection", async move {
                    stream.read_u8().await?;
                    stream.write_all(answer).await?;
                    if answer.is_empty() {
                        // Until the other side has enough of it.
                        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
                    }
                    io::Result::Ok(())
                });
            }
        });
        let params = json!({"providerUrl": format!("http://{address}/list"), "overrides": ["always"]});
        let list = build(&Listchecker::default(), params).await;
        let status = list.list_entry(Some("a".into())).await.status;
        assert_eq!(status.code, INTERNAL, "{answer:?}: {status:?}");
        assert!(!status.message.is_empty());
        assert_eq!(code(&list, "always").await, OK);
        list.close().await;
    });
    futures::future::join_all(asked).await;
}

/// §7.6: a provider that accepts connections and says nothing keeps nobody from having a handler.
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_silent_does_not_keep_the_handler_from_being_built() {
    let (listener, address) = ports::listen().await.unwrap();
    let params = json!({"providerUrl": format!("http://{address}/list"), "overrides": ["always"]});
    let begin = Instant::now();
    let list = build(&Listchecker::default(), params).await;
    let took = begin.elapsed();
    assert!(took < BUILD_LIMIT, "{took:?}");
    assert_eq!(code(&list, "a").await, INTERNAL);
    assert_eq!(code(&list, "always").await, OK);
    drop(listener);
}

/// A provider over HTTPS is recognized by the authorities, and no other is believed.
#[tokio::test]
async fn providers_over_https_are_recognized() {
    let authority = Authority::new("lists").unwrap();
    let pair = authority.issue(&["localhost"]).unwrap();
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let provider = Provider::default();
    provider.says("200 OK", "", "a\n");
    let port = provider.start(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let params = json!({"providerUrl": format!("https://localhost:{port}/list")});

    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("authorities.pem");
    for (trusted, expected) in [(authority, OK), (Authority::new("others").unwrap(), INTERNAL)] {
        std::fs::write(&authorities, trusted.certificate()).unwrap();
        let adapter = Listchecker {
            authorities: authorities.clone(),
        };
        let list = build(&adapter, params.clone()).await;
        assert_eq!(code(&list, "a").await, expected);
    }
}
