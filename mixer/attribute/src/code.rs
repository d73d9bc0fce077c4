//! Codes of `google.rpc`, as they are shown.

use mesh_api::google::rpc::Status;

/// Names of the codes, by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a code is called; `None` for numbers that adapters made up.
#[must_use]
pub fn code_name(code: i32) -> Option<&'static str> {
    NAMES.get(usize::try_from(code).ok()?).copied()
}

/// The body of the answer to a request that may not pass: `CODE:message` (`spec 02` §2.9).
#[must_use]
pub fn denial(status: &Status) -> String {
    let name = code_name(status.code).unwrap_or("UNKNOWN");
    match status.message.as_str() {
        "" => name.to_owned(),
        message => format!("{name}:{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spec_02_2_9_the_body_of_a_denial_names_code_and_message() {
        for (code, message, body) in [
            (
                7,
                "denycustomerhandler.denier.weather:Not allowed",
                "PERMISSION_DENIED:denycustomerhandler.denier.weather:Not allowed",
            ),
            (16, "", "UNAUTHENTICATED"),
            (1333, "never", "UNKNOWN:never"),
            (-1, "", "UNKNOWN"),
        ] {
            let status = Status {
                code,
                message: message.to_owned(),
                ..Status::default()
            };
            assert_eq!(denial(&status), body);
        }
    }
}
