//! Writing objects.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Attempts of [`update`] while others write the same object.
const ATTEMPTS: usize = 8;

/// Makes an object be as given, in the fields that are given; creates it when it does not exist.
///
/// `manager` owns these fields from then on, also where another owned them: what it does not mention the next time, it
/// removes.
///
/// # Errors
/// When the server refuses, or the object has no name.
pub async fn apply<K>(api: &Api<K>, manager: &str, object: &K) -> kube::Result<K>
where
    K: Resource + Serialize + DeserializeOwned + Clone + Debug,
{
    let name = object.meta().name.clone().unwrap_or_default();
    let params = PatchParams::apply(manager).force();
    api.patch(&name, &params, &Patch::Apply(object)).await
}

/// Replaces fields of the status of an object, where its kind has a status of its own; otherwise those of the field
/// `status`, as the kinds of 1.1 have it. `false` when the object is gone.
///
/// # Errors
/// When the server refuses.
pub async fn status<K>(api: &Api<K>, name: &str, status: &impl Serialize) -> kube::Result<bool>
where
    K: DeserializeOwned + Clone + Debug,
{
    merge_status(api, name, &json!({ "status": status })).await
}

/// As [`status`], unless somebody has written the object since it had this version: that is `false` too, as whoever
/// follows the object is told in either case.
///
/// # Errors
/// When the server refuses.
pub async fn status_at<K>(
    api: &Api<K>,
    name: &str,
    version: &str,
    status: &impl Serialize,
) -> kube::Result<bool>
where
    K: DeserializeOwned + Clone + Debug,
{
    let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
    match merge_status(api, name, &patch).await {
        Err(error) if is(&error, 409) => Ok(false),
        result => result,
    }
}

async fn merge_status<K>(api: &Api<K>, name: &str, patch: &Value) -> kube::Result<bool>
where
    K: DeserializeOwned + Clone + Debug,
{
    let patch = Patch::Merge(patch);
    let params = PatchParams::default();
    if found(api.patch_status(name, &params, &patch).await)? {
        return Ok(true);
    }
    // Either the object is gone, or its kind has no such subresource.
    found(api.patch(name, &params, &patch).await)
}

/// Changes an object as it is at that time, again and again until nobody wrote it in between. `change` says whether there
/// is something to write. What was written, or the object as it is; `None` when it is gone.
///
/// # Errors
/// When the server refuses, or somebody else never stops writing.
pub async fn update<K>(
    api: &Api<K>,
    name: &str,
    mut change: impl FnMut(&mut K) -> bool,
) -> kube::Result<Option<K>>
where
    K: Resource + Serialize + DeserializeOwned + Clone + Debug,
{
    let mut attempts = 0;
    loop {
        let Some(mut object) = api.get_opt(name).await? else {
            return Ok(None);
        };
        if !change(&mut object) {
            return Ok(Some(object));
        }
        attempts += 1;
        match api.replace(name, &PostParams::default(), &object).await {
            Ok(written) => return Ok(Some(written)),
            Err(error) if is(&error, 404) => return Ok(None),
            Err(error) if is(&error, 409) && attempts < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
}

/// The metadata of an object that is to be written.
#[must_use]
pub fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

/// Whether the server answered with this code.
pub(crate) fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn found<T>(result: kube::Result<T>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if is(&error, 404) => Ok(false),
        Err(error) => Err(error),
    }
}
