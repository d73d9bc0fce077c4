//! Mixer's side of a call to an adapter (`spec 02` §10.2), for any template.

use bytes::Bytes;
use http::uri::PathAndQuery;
use mesh_runtime::grpc::BytesCodec;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MapKey, MethodDescriptor, Value};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// The full name that instances have here.
const INSTANCE: &str = "hello.instance.istio-system";

/// An adapter that runs.
pub(crate) struct Adapter {
    grpc: Grpc<Channel>,
    method: MethodDescriptor,
}

// === impl Adapter ===

impl Adapter {
    pub(crate) async fn connect(template: &str, address: &str) -> Self {
        let file = format!("mixer/template/{template}/template_handler_service.proto");
        let file = mesh_api::descriptors().get_file_by_name(&file).unwrap();
        let method = file.services().next().unwrap().methods().next().unwrap();
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            grpc: Grpc::new(channel.connect().await.unwrap()),
            method,
        }
    }

    /// Parameters of a handler. A project's are not ours, and are therefore written by hand: `file_path` is field 1.
    pub(crate) fn params(&self, package: &str, file_path: &str) -> DynamicMessage {
        let any = mesh_api::Any {
            type_url: format!("type.googleapis.com/{package}.config.Params"),
            value: Bytes::from(
                prost_types::FileDescriptorProto {
                    // Also a text in field 1.
                    name: Some(file_path.to_owned()),
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
        };
        let mut message = message("google.protobuf.Any");
        message.set_field_by_name("type_url", Value::String(any.type_url));
        message.set_field_by_name("value", Value::Bytes(any.value));
        message
    }

    /// One call with an instance that has what its template can have, about a path.
    pub(crate) async fn call(
        &mut self,
        path: &str,
        adapter_config: DynamicMessage,
    ) -> Result<DynamicMessage, Status> {
        let mut request = DynamicMessage::new(self.method.input());
        let input = self.method.input();
        let (field, repeated) = match input.get_field_by_name("instances") {
            Some(field) => (field, true),
            None => (input.get_field_by_name("instance").unwrap(), false),
        };
        let mut instance = DynamicMessage::new(field.kind().as_message().unwrap().clone());
        instance.set_field_by_name("name", Value::String(INSTANCE.to_owned()));
        let of = |field: &str, value| {
            let mut message = message("istio.policy.v1beta1.Value");
            message.set_field_by_name(field, value);
            Value::Message(message)
        };
        let _absent = instance.try_set_field_by_name("value", of("int64_value", Value::I64(1)));
        let dimensions = [(
            MapKey::String("path".to_owned()),
            of("string_value", Value::String(path.to_owned())),
        )];
        let _absent = instance.try_set_field_by_name("dimensions", Value::Map(dimensions.into()));
        let instance = Value::Message(instance);
        request.set_field(
            &field,
            if repeated {
                Value::List(vec![instance])
            } else {
                instance
            },
        );
        request.set_field_by_name("adapter_config", Value::Message(adapter_config));
        request.set_field_by_name("dedup_id", Value::String("1".to_owned()));
        if input.get_field_by_name("quota_request").is_some() {
            let mut params = message("istio.mixer.adapter.model.v1beta1.QuotaRequest.QuotaParams");
            params.set_field_by_name("amount", Value::I64(3));
            let mut quotas = message("istio.mixer.adapter.model.v1beta1.QuotaRequest");
            let wanted = [(MapKey::String(INSTANCE.to_owned()), Value::Message(params))];
            quotas.set_field_by_name("quotas", Value::Map(wanted.into()));
            request.set_field_by_name("quota_request", Value::Message(quotas));
        }
        let path = format!(
            "/{}/{}",
            self.method.parent_service().full_name(),
            self.method.name()
        );
        self.grpc.ready().await.unwrap();
        let path = PathAndQuery::try_from(path).unwrap();
        let request = Request::new(Bytes::from(request.encode_to_vec()));
        let answer = self.grpc.unary(request, path, BytesCodec).await?;
        DynamicMessage::decode(self.method.output(), answer.into_inner())
            .map_err(|error| Status::internal(error.to_string()))
    }
}

fn message(name: &str) -> DynamicMessage {
    DynamicMessage::new(mesh_api::descriptors().get_message_by_name(name).unwrap())
}
