//! Envoy's `envoy.service.ratelimit.v3.RateLimitService`: quotas for the filter `ratelimit`.
//!
//! Each descriptor allocates of one quota, all of it or nothing: of that which its entry `quota` names, else of that which
//! is called like the `domain`. The amount is the `hits_addend` of the descriptor, else of the request, else 1. The other
//! entries of a descriptor that are called like an attribute are its value, for the conditions of rules and the dimensions
//! of instances. So an action `request_headers: {header_name: x-user, descriptor_key: source.user}` counts for each user.
//!
//! A quota that no rule with a condition that holds limits is granted. What nobody could count, such as with a Redis that is
//! away, is an error of the call, about which `failure_mode_deny` decides, and never a 429 (pain 22). Hits that are given back
//! (`is_negative_hits`) change nothing: Mixer's quotas are limited in time, and nobody gives of them back.

use std::sync::Arc;

use bytes::Bytes;
use mesh_api::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use mesh_api::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use mesh_api::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use mesh_api::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use mesh_api::google::rpc;
use mixer_attribute::{Bag, QuotaParams, Vocabulary, denial};
use mixer_runtime::dispatch::{Failure, Patience, Wanted};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::attributes::Filler;
use super::{Front, status, tell};

pub(super) const SHOULD_RATE_LIMIT: &str = "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The entry that names the quota.
const QUOTA: &str = "quota";

/// `RESOURCE_EXHAUSTED`.
const EXHAUSTED: i32 = 8;

/// The service.
pub(super) struct RateLimits(pub(super) Arc<Front>);

#[tonic::async_trait]
impl RateLimitService for RateLimits {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let answer = |patience| limit(&self.0, &request, patience);
        let method = &self.0.methods.limit;
        self.0
            .measured(method, &metadata, request.encoded_len(), answer)
            .await
    }
}

async fn limit(
    front: &Front,
    request: &RateLimitRequest,
    patience: Patience,
) -> Result<Response<RateLimitResponse>, Status> {
    front.admit(1)?;
    let _slot = front.slot().await;
    let table = front.engine.table();
    let mut exhausted = Vec::new();
    let mut statuses = Vec::with_capacity(request.descriptors.len());
    for descriptor in &request.descriptors {
        let (name, amount) = (quota(request, descriptor), amount(request, descriptor));
        let granted = if descriptor.is_negative_hits {
            amount
        } else {
            let bag = attributes(&table.vocabulary, descriptor);
            let wanted = Wanted {
                name,
                params: QuotaParams {
                    amount,
                    best_effort: false,
                },
                deduplication_id: "",
            };
            let grant = front.engine.allocate(&table, bag, wanted, patience).await;
            let grant = grant.map_err(status)?;
            if let Some(reason) = &grant.undecided {
                return Err(status(Failure::undecided(name, reason)));
            }
            grant.amount
        };
        let within = granted >= amount;
        if !within && !exhausted.contains(&name) {
            exhausted.push(name);
        }
        statuses.push(DescriptorStatus {
            code: code(within).into(),
            ..DescriptorStatus::default()
        });
    }
    let body = match exhausted.is_empty() {
        true => Bytes::new(),
        false => body(&exhausted).into(),
    };
    let mut response = Response::new(RateLimitResponse {
        overall_code: code(exhausted.is_empty()).into(),
        statuses,
        raw_body: body,
        ..RateLimitResponse::default()
    });
    tell(response.metadata_mut(), &table, false);
    Ok(response)
}

/// The name of the quota that a descriptor is about.
fn quota<'r>(request: &'r RateLimitRequest, descriptor: &'r RateLimitDescriptor) -> &'r str {
    let named = descriptor.entries.iter().find(|entry| entry.key == QUOTA);
    named.map_or(&request.domain, |entry| &entry.value)
}

fn amount(request: &RateLimitRequest, descriptor: &RateLimitDescriptor) -> i64 {
    match (descriptor.hits_addend, request.hits_addend) {
        (Some(amount), _) => i64::try_from(amount).unwrap_or(i64::MAX),
        (None, 0) => 1,
        (None, amount) => amount.into(),
    }
}

fn attributes<'r>(vocabulary: &Vocabulary, descriptor: &'r RateLimitDescriptor) -> Bag<'r> {
    let mut filler = Filler::new(vocabulary);
    let entries = descriptor.entries.iter().filter(|entry| entry.key != QUOTA);
    filler.named(entries.map(|entry| (entry.key.as_str(), entry.value.as_str())));
    filler.finish()
}

fn code(within: bool) -> Code {
    if within { Code::Ok } else { Code::OverLimit }
}

/// What proxies of 1.1 say when a quota is exhausted (`spec 02` §2.9).
fn body(exhausted: &[&str]) -> String {
    denial(&rpc::Status {
        code: EXHAUSTED,
        message: format!("Quota is exhausted for: {}", exhausted.join(", ")),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use mesh_api::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;

    use super::*;

    #[test]
    fn design_6_a_descriptor_names_its_quota_and_amount() {
        let entry = |key: &str, value: &str| Entry {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let plain = RateLimitDescriptor {
            entries: vec![entry("source.user", "a")],
            ..RateLimitDescriptor::default()
        };
        let named = RateLimitDescriptor {
            entries: vec![entry("source.user", "a"), entry("quota", "logins")],
            hits_addend: Some(5),
            ..RateLimitDescriptor::default()
        };
        let request = |hits_addend| RateLimitRequest {
            domain: "requests".to_owned(),
            hits_addend,
            ..RateLimitRequest::default()
        };
        assert_eq!(
            (quota(&request(0), &plain), amount(&request(0), &plain)),
            ("requests", 1)
        );
        assert_eq!(amount(&request(4), &plain), 4);
        assert_eq!(
            (quota(&request(4), &named), amount(&request(4), &named)),
            ("logins", 5)
        );
        assert_eq!(
            body(&["requests", "logins"]),
            "RESOURCE_EXHAUSTED:Quota is exhausted for: requests, logins"
        );
    }
}
