//! Fields put into a message's JSON on its way.

use serde_json::Value;

/// The same message with these fields in its body, or as it is if that is no JSON object.
pub(super) fn with_fields(message: &[u8], fields: &Value) -> Vec<u8> {
    amended(message, fields).unwrap_or_else(|| message.to_vec())
}

fn amended(message: &[u8], fields: &Value) -> Option<Vec<u8>> {
    let (head, body) = std::str::from_utf8(message).ok()?.split_once("\r\n\r\n")?;
    let mut body: Value = serde_json::from_str(body).ok()?;
    body.as_object_mut()?.extend(fields.as_object()?.clone());
    let body = body.to_string();
    let mut amended = String::new();
    for line in head.split("\r\n") {
        let of_length = line.to_ascii_lowercase().starts_with("content-length:");
        if !of_length {
            amended.push_str(line);
            amended.push_str("\r\n");
        }
    }
    amended.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    Some(amended.into_bytes())
}
