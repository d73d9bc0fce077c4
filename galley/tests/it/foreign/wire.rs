//! The messages of MCP, written down from the published table of fields and from nothing else: no type, generated or
//! not, is shared with Galley.

use std::collections::BTreeMap;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SinkNode {
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestResources {
    #[prost(message, optional, tag = "1")]
    pub(crate) sink_node: Option<SinkNode>,
    #[prost(string, tag = "2")]
    pub(crate) collection: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) initial_resource_versions: BTreeMap<String, String>,
    #[prost(string, tag = "4")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) error_detail: Option<Status>,
    #[prost(bool, tag = "6")]
    pub(crate) incremental: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resources {
    #[prost(string, tag = "1")]
    pub(crate) system_version_info: String,
    #[prost(string, tag = "2")]
    pub(crate) collection: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) resources: Vec<Resource>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) removed_resources: Vec<String>,
    #[prost(string, tag = "5")]
    pub(crate) nonce: String,
    #[prost(bool, tag = "6")]
    pub(crate) incremental: bool,
}

/// What tests look at of a mesh configuration.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct MeshConfig {
    #[prost(string, tag = "7")]
    pub(crate) ingress_class: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MeshConfigRequest {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) sink_node: Option<SinkNode>,
    #[prost(string, tag = "3")]
    pub(crate) type_url: String,
    #[prost(string, tag = "4")]
    pub(crate) response_nonce: String,
    #[prost(message, optional, tag = "5")]
    pub(crate) error_detail: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MeshConfigResponse {
    #[prost(string, tag = "1")]
    pub(crate) version_info: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) resources: Vec<Resource>,
    #[prost(string, tag = "3")]
    pub(crate) type_url: String,
    #[prost(string, tag = "4")]
    pub(crate) nonce: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Resource {
    #[prost(message, optional, tag = "1")]
    pub(crate) metadata: Option<Metadata>,
    #[prost(message, optional, tag = "2")]
    pub(crate) body: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) create_time: Option<Timestamp>,
    #[prost(string, tag = "3")]
    pub(crate) version: String,
    #[prost(btree_map = "string, string", tag = "4")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

// === impl Resource ===

impl Resource {
    pub(crate) fn name(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }

    pub(crate) fn version(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.version)
    }
}
