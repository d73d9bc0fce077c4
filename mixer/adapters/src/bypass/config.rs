//! Where the back end is.

use mesh_api::adapter::bypass::config::Params;
use mesh_runtime::args::HostPort;
use mixer_adapter::ConfigErrors;

pub(super) fn address(params: &Params, errors: &mut ConfigErrors) -> Option<HostPort> {
    match params.backend_address.parse::<HostPort>() {
        Ok(address) if address.host.is_some() => Some(address),
        Ok(_) => {
            errors.push("backendAddress", "the host is missing");
            None
        }
        Err(error) => {
            errors.push("backendAddress", error.to_string());
            None
        }
    }
}
