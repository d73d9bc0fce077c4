//! What is sent to an adapter (`spec 02` §10.2): fields in the order of their numbers.

use bytes::Bytes;
use mesh_api::Any;
use mesh_api::istio::mixer::adapter::model::v1beta1::QuotaRequest;
use mesh_api::istio::mixer::adapter::model::v1beta1::quota_request::QuotaParams;
use mixer_adapter::QuotaArgs;
use prost::Message as _;

use crate::encode::put_bytes;

const CONFIG_FIELD: u32 = 2;
const DEDUP_FIELD: u32 = 3;
const QUOTA_FIELD: u32 = 4;

/// A request but for `adapter_config`, which may be that of a session.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// One field or several of them.
    pub(super) instances: Vec<u8>,
    pub(super) deduplication_id: String,
    pub(super) quota: Option<QuotaRequest>,
}

// === impl Request ===

impl Request {
    /// What is asked of the quota of an instance.
    pub(super) fn quota(instance: &str, args: &QuotaArgs) -> QuotaRequest {
        let params = QuotaParams {
            amount: args.amount,
            best_effort: args.best_effort,
        };
        QuotaRequest {
            quotas: [(instance.to_owned(), params)].into(),
        }
    }

    pub(super) fn encode(&self, config: Option<&Any>) -> Bytes {
        let mut out = Vec::with_capacity(self.instances.len() + 64);
        out.extend(&self.instances);
        if let Some(config) = config {
            put_bytes(CONFIG_FIELD, &config.encode_to_vec(), &mut out);
        }
        if !self.deduplication_id.is_empty() {
            put_bytes(DEDUP_FIELD, self.deduplication_id.as_bytes(), &mut out);
        }
        if let Some(quota) = &self.quota {
            put_bytes(QUOTA_FIELD, &quota.encode_to_vec(), &mut out);
        }
        out.into()
    }
}
