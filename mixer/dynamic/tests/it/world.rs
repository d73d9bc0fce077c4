//! Templates, requests and adapters that the tests use.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use mesh_api::istio::policy::v1beta1::Connection;
use mesh_runtime::Spawner;
use mixer_adapter::Env;
use mixer_attribute::{Bag, StringMap, Untracked, Value, ValueType, Vocabulary};
use mixer_dynamic::testing::{Reply, built_in, compiled};
use mixer_dynamic::{Backend, BackendOptions, Encoder, Pace, Template};
use mixer_template::FieldError;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::{Duration as Span, Timestamp};
use serde_json::Value as Json;
use tokio::time::Instant;
use tonic::Status;

/// Longer than anything here takes, also on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const EVERYTHING: &str = r#"
syntax = "proto3";
package everything;
import "google/protobuf/any.proto";
import "istio/mixer/adapter/model/v1beta1/check.proto";
import "istio/mixer/adapter/model/v1beta1/extensions.proto";
import "istio/policy/v1beta1/type.proto";
import "istio/policy/v1beta1/value_type.proto";
option (istio.mixer.adapter.model.v1beta1.template_name) = "everything";
option (istio.mixer.adapter.model.v1beta1.template_variety) = TEMPLATE_VARIETY_CHECK_WITH_OUTPUT;
service HandleEverythingService {
  rpc HandleEverything(HandleEverythingRequest) returns (HandleEverythingResponse);
}
message HandleEverythingRequest {
  InstanceMsg instance = 1;
  google.protobuf.Any adapter_config = 2;
  string dedup_id = 3;
}
message HandleEverythingResponse {
  istio.mixer.adapter.model.v1beta1.CheckResult result = 1;
  OutputMsg output = 2;
}
enum Level { LOW = 0; HIGH = 5; }
message Inner {
  string text = 1;
  istio.policy.v1beta1.Value any = 2;
  map<string, istio.policy.v1beta1.Value> values = 3;
}
message InstanceMsg {
  string text = 1;
  int64 i64 = 2;
  int32 i32 = 3;
  uint32 u32 = 4;
  uint64 u64 = 5;
  sint32 s32 = 6;
  sint64 s64 = 7;
  fixed32 f32 = 8;
  fixed64 f64 = 9;
  sfixed32 sf32 = 10;
  sfixed64 sf64 = 11;
  float single = 12;
  double real = 13;
  bool flag = 14;
  Level level = 15;
  Level other_level = 16;
  istio.policy.v1beta1.Value any = 17;
  istio.policy.v1beta1.IPAddress ip = 18;
  istio.policy.v1beta1.TimeStamp time = 19;
  istio.policy.v1beta1.Duration span = 20;
  istio.policy.v1beta1.DNSName dns = 21;
  istio.policy.v1beta1.Uri uri = 22;
  istio.policy.v1beta1.EmailAddress mail = 23;
  map<string, string> labels = 24;
  map<string, istio.policy.v1beta1.Value> values = 25;
  map<int32, Inner> by_number = 26;
  repeated int64 numbers = 27;
  repeated string texts = 28;
  repeated Inner inners = 29;
  Inner inner = 30;
  repeated int64 scattered = 31 [packed = false];
  bytes raw = 32;
  map<string, int64> counts = 33;
  string name = 72295727;
}
message InnerType {
  istio.policy.v1beta1.ValueType any = 2;
  map<string, istio.policy.v1beta1.ValueType> values = 3;
}
message Type {
  istio.policy.v1beta1.ValueType any = 17;
  map<string, istio.policy.v1beta1.ValueType> values = 25;
  InnerType inner = 30;
}
message OutputMsg {
  string value = 1;
  int32 count = 2;
  istio.policy.v1beta1.IPAddress ip = 3;
  map<string, string> labels = 4;
  bool flag = 5;
  double real = 6;
  istio.policy.v1beta1.TimeStamp time = 7;
  istio.policy.v1beta1.Uri uri = 8;
  Level level = 9;
  uint64 huge = 10;
  bytes raw = 11;
}
"#;

pub(crate) fn everything() -> (Arc<Template>, DescriptorPool) {
    let text = compiled("everything.proto", EVERYTHING);
    let pool = DescriptorPool::decode(STANDARD.decode(&text).unwrap().as_slice()).unwrap();
    let template = Template::read("everything.template.ns", &text).unwrap();
    (Arc::new(template), pool)
}

pub(crate) fn known(name: &str) -> Arc<Template> {
    let file = format!("mixer/template/{name}/template_handler_service.proto");
    Arc::new(Template::read(&format!("{name}.template.ns"), &built_in(&file)).unwrap())
}

/// Attributes with a value, and `absent`.
pub(crate) struct Attributes {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) bag: Bag<'static>,
}

impl Attributes {
    pub(crate) fn new() -> Self {
        let values: Vec<(&str, ValueType, Option<Value<'static>>)> = vec![
            ("text", ValueType::String, Some("words".into())),
            ("int", ValueType::Int64, Some(Value::Int64(-7))),
            ("large", ValueType::Int64, Some(Value::Int64(1 << 40))),
            ("real", ValueType::Double, Some(Value::Double(1.5))),
            ("flag", ValueType::Bool, Some(Value::Bool(true))),
            (
                "ip",
                ValueType::IpAddress,
                Some(Value::IpAddress(IpAddr::from([10, 0, 0, 1]))),
            ),
            (
                "time",
                ValueType::Timestamp,
                Some(Value::Timestamp(Timestamp { seconds: 5, nanos: 6 })),
            ),
            (
                "span",
                ValueType::Duration,
                Some(Value::Duration(Span { seconds: 7, nanos: 0 })),
            ),
            ("dns", ValueType::DnsName, Some("example.com".into())),
            ("uri", ValueType::Uri, Some("http://a".into())),
            ("mail", ValueType::EmailAddress, Some("a@b.c".into())),
            (
                "labels",
                ValueType::StringMap,
                Some(Value::StringMap(StringMap::borrowed([
                    ("app", "shop"),
                    ("v", "1"),
                ]))),
            ),
            ("level", ValueType::String, Some("HIGH".into())),
            ("absent", ValueType::String, None),
        ];
        let mut vocabulary = Vocabulary::default();
        for (name, value_type, _) in &values {
            vocabulary.add(name, *value_type).unwrap();
        }
        let mut bag = Bag::new(&vocabulary);
        for (name, _, value) in values {
            if let Some(value) = value {
                bag.set(vocabulary.id(name).unwrap(), value);
            }
        }
        Self { vocabulary, bag }
    }

    pub(crate) fn compile(
        &self,
        template: &Arc<Template>,
        params: &Json,
    ) -> Result<Encoder, Vec<FieldError>> {
        Encoder::compile(
            template,
            "one.instance.ns",
            params,
            &BTreeMap::new(),
            &self.vocabulary,
        )
    }

    /// The instance as JSON, as a reader of its descriptor sees it.
    pub(crate) fn instance(&self, template: &Arc<Template>, pool: &DescriptorPool, params: &Json) -> Json {
        let encoder = self
            .compile(template, params)
            .unwrap_or_else(|errors| panic!("{errors:?}"));
        let request = encoder.encode(&self.bag, &mut Untracked).unwrap();
        let descriptor = pool
            .get_message_by_name("everything.HandleEverythingRequest")
            .unwrap();
        json(&DynamicMessage::decode(descriptor, request.as_slice()).unwrap())["instance"].clone()
    }
}

pub(crate) fn json(message: &DynamicMessage) -> Json {
    let options = SerializeOptions::new().stringify_64_bit_integers(false);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

/// Options for an adapter that listens there.
pub(crate) fn options(address: &(impl ToString + ?Sized)) -> BackendOptions {
    BackendOptions {
        connection: Connection {
            address: address.to_string(),
            ..Connection::default()
        },
        config: None,
        session_based: false,
        inferred: BTreeMap::new(),
        pace: Pace {
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(10),
            ..Pace::default()
        },
    }
}

pub(crate) fn env() -> Env {
    Env::new("remote.handler.ns", Spawner::default())
}

pub(crate) async fn backend(options: BackendOptions) -> Backend {
    Backend::build(options, &env()).await.unwrap()
}

/// When nobody waits any more.
pub(crate) fn until() -> Instant {
    Instant::now() + PATIENCE
}

pub(crate) fn ok(message: &impl Message) -> Reply {
    let bytes = Bytes::from(message.encode_to_vec());
    async move { Ok(bytes) }.boxed()
}

pub(crate) fn refused(status: Status) -> Reply {
    async move { Err(status) }.boxed()
}
