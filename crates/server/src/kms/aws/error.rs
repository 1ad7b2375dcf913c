//! From the SDK's errors to the port's.

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use strongroom_seal::{Detail, KmsError};

/// Which of the port's errors an SDK error is. The detail holds the call, AWS's code and AWS's
/// message: none of them quotes key material, and an answer that did not parse is not quoted.
pub(super) fn kms_error<E: ProvideErrorMetadata>(call: &str, error: &SdkError<E>) -> KmsError {
    let status = error
        .raw_response()
        .map(|response| response.status().as_u16());
    match error {
        SdkError::TimeoutError(_) => unavailable(call, "no answer in time"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            unavailable(call, "no connection in time")
        }
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            unavailable(call, "the endpoint cannot be reached")
        }
        SdkError::DispatchFailure(_) => unavailable(
            call,
            "the call could not be sent: check endpoint, TLS and credentials",
        ),
        SdkError::ConstructionFailure(_) => unavailable(
            call,
            "the call could not be built: check endpoint and credentials",
        ),
        SdkError::ServiceError(service) => {
            classify(call, service.err().code(), service.err().message(), status)
        }
        _ => classify(call, None, None, status),
    }
}

/// An answer of AWS's without the fields it must have.
pub(super) fn incomplete(call: &str) -> KmsError {
    unavailable(call, "the answer lacks a field it must have")
}

fn unavailable(call: &str, why: &str) -> KmsError {
    KmsError::Unavailable(Detail::new(&format!("{call}: {why}")))
}

fn classify(
    call: &str,
    code: Option<&str>,
    message: Option<&str>,
    status: Option<u16>,
) -> KmsError {
    let status_text = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    let code_text = code.unwrap_or("no error code");
    let message = message
        .filter(|text| !text.is_empty())
        .unwrap_or("no message");
    let detail = Detail::new(&format!(
        "{call}: {code_text} (status {status_text}): {message}"
    ));
    let by_code = match code {
        Some(
            "AccessDenied"
            | "AccessDeniedException"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidGrantTokenException"
            | "InvalidKeyUsageException"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "NotFoundException"
            | "OptInRequired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException",
        ) => Some(KmsError::Denied as fn(Detail) -> KmsError),
        Some("DisabledException" | "KMSInvalidStateException") => Some(KmsError::KeyDisabled as _),
        Some(
            "LimitExceededException"
            | "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "TooManyRequestsException",
        ) => Some(KmsError::Throttled as _),
        Some(
            "DependencyTimeoutException"
            | "KMSInternalException"
            | "KeyUnavailableException"
            | "RequestTimeout"
            | "ServiceUnavailable"
            | "ServiceUnavailableException",
        ) => Some(KmsError::Unavailable as _),
        Some("IncorrectKeyException" | "InvalidCiphertextException" | "ValidationException") => {
            Some(KmsError::Malformed as _)
        }
        Some("UnsupportedOperationException") => Some(KmsError::Unsupported as _),
        _ => None,
    };
    let kind = by_code.unwrap_or(match status {
        Some(401 | 403) => KmsError::Denied,
        Some(429) => KmsError::Throttled,
        Some(400..=499) => KmsError::Malformed,
        _ => KmsError::Unavailable,
    });
    kind(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_before_statuses() {
        let kind = |code, status| {
            let error = classify("Decrypt", code, Some("why"), status);
            format!("{error:?}").split('(').next().unwrap().to_owned()
        };
        for (code, status, expected) in [
            (Some("AccessDeniedException"), 400, "Denied"),
            (Some("NotFoundException"), 400, "Denied"),
            (Some("DisabledException"), 400, "KeyDisabled"),
            (Some("KMSInvalidStateException"), 400, "KeyDisabled"),
            (Some("ThrottlingException"), 400, "Throttled"),
            (Some("LimitExceededException"), 400, "Throttled"),
            (Some("KMSInternalException"), 500, "Unavailable"),
            (Some("DependencyTimeoutException"), 503, "Unavailable"),
            (Some("KeyUnavailableException"), 500, "Unavailable"),
            (Some("InvalidCiphertextException"), 400, "Malformed"),
            (Some("IncorrectKeyException"), 400, "Malformed"),
            (Some("UnsupportedOperationException"), 400, "Unsupported"),
            (Some("SomethingNew"), 400, "Malformed"),
            (Some("SomethingNew"), 403, "Denied"),
            (Some("SomethingNew"), 503, "Unavailable"),
            (None, 401, "Denied"),
            (None, 429, "Throttled"),
            (None, 200, "Unavailable"),
        ] {
            assert_eq!(kind(code, Some(status)), expected, "{code:?} {status}");
        }
        assert_eq!(kind(None, None), "Unavailable");
    }

    #[test]
    fn details_name_call_code_and_message() {
        let error = classify(
            "Decrypt",
            Some("DisabledException"),
            Some("key k\nis off"),
            None,
        );
        assert_eq!(
            error.detail(),
            "Decrypt: DisabledException (status none): key k is off"
        );
    }
}
