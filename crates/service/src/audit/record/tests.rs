//! The bytes of records.

use super::*;

#[test]
fn a_line_is_the_canonical_form() {
    let entry = Entry {
        request_id: "r-1".into(),
        actor: "deploy".into(),
        client_ip: Some("10.0.0.1".parse().unwrap()),
        peer_ip: Some("::1".parse().unwrap()),
        action: "secret.read".into(),
        target: "secret/db\n\"".into(),
        outcome: "allowed".into(),
        status: Some(200),
    };
    let mut line = Vec::new();
    let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    let mut pen = Pen::new("n1").unwrap();
    let link = pen.render(Link::GENESIS, now, &entry, &mut line).unwrap();
    let text = String::from_utf8(line).unwrap();
    let zeros = "0".repeat(64);
    let body = format!(
        "{{\"seq\":1,\"time\":\"2023-11-14T22:13:20.000Z\",\"request_id\":\"r-1\",\
         \"node\":\"n1\",\"actor\":\"deploy\",\"client_ip\":\"10.0.0.1\",\"peer_ip\":\"::1\",\
         \"action\":\"secret.read\",\"target\":\"secret/db\\n\\\"\",\"outcome\":\"allowed\",\
         \"status\":200,\"prev\":\"{zeros}\""
    );
    let hash = Hash(Sha256::digest(format!("{body}}}").as_bytes()).into());
    assert_eq!(text, format!("{body},\"hash\":\"{hash}\"}}\n"));
    assert_eq!(link, Link { seq: 1, hash });
}

#[test]
fn every_line_is_bounded() {
    let longest = "\u{1}".repeat(1_000_000);
    let entry = Entry {
        request_id: longest.clone().into(),
        actor: longest.clone(),
        client_ip: Some(
            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
                .parse()
                .unwrap(),
        ),
        peer_ip: Some(
            "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"
                .parse()
                .unwrap(),
        ),
        action: longest.clone().into(),
        target: longest.clone(),
        outcome: longest.clone().into(),
        status: Some(u16::MAX),
    };
    let mut line = Vec::new();
    let after = Link {
        seq: u64::MAX - 1,
        ..Link::GENESIS
    };
    let mut pen = Pen::new(&longest).unwrap();
    pen.render(after, OffsetDateTime::now_utc(), &entry, &mut line)
        .unwrap();
    assert!(line.len() < LINE_BYTES, "{}", line.len());
    assert!(String::from_utf8(line).unwrap().contains("[cut]"));
    assert_eq!(cut("aé", 2), "a…[cut]");
}

/// The body as a serializer writes it.
#[derive(serde::Serialize)]
struct Body<'a> {
    seq: u64,
    time: &'a str,
    request_id: Cow<'a, str>,
    node: Cow<'a, str>,
    actor: Cow<'a, str>,
    client_ip: Option<IpAddr>,
    peer_ip: Option<IpAddr>,
    action: Cow<'a, str>,
    target: Cow<'a, str>,
    outcome: Cow<'a, str>,
    status: Option<u16>,
    prev: &'a str,
}

/// UTC with milliseconds.
fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.millisecond()
    )
}

/// One pen writes records one after the other, each as a serializer writes it.
#[test]
fn a_body_is_what_a_serializer_makes_of_it() {
    let ips = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "::"];
    let mut ips = ips
        .into_iter()
        .map(|ip| Some(ip.parse().unwrap()))
        .chain([None])
        .cycle();
    let all: String = ('\0'..'\u{200}').chain(['\u{2028}', '\u{1f511}']).collect();
    let texts = ["", "plain", "\"", "\\", "/", "\u{7f}", "é…", "\u{1f}", &all].map(str::to_owned);
    let long = |text: &String| text.repeat(2_000);
    let texts: Vec<_> = texts
        .iter()
        .cloned()
        .chain(texts.iter().map(long))
        .collect();
    let times = [
        0,
        1,
        999,
        1_000,
        1_234_567_890_123,
        1_234_567_890_124,
        7,
        -1,
        -62_167_219_200_000,
    ];
    for node in ["n1", "n\"2"] {
        let (mut pen, mut after) = (Pen::new(node).unwrap(), Link::GENESIS);
        let mut out = b"what was there".to_vec();
        for (text, millis) in texts
            .iter()
            .flat_map(|text| times.map(|millis| (text, millis)))
        {
            let now =
                OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000 + 999_999).unwrap();
            let entry = Entry {
                request_id: text.clone().into(),
                actor: text.clone(),
                client_ip: ips.next().unwrap(),
                peer_ip: ips.next().unwrap(),
                action: text.clone().into(),
                target: text.clone(),
                outcome: text.clone().into(),
                status: (!text.is_empty()).then_some(404),
            };
            let body = Body {
                seq: after.seq + 1,
                time: &rfc3339(now),
                request_id: cut(text, REQUEST_ID_BYTES),
                node: node.into(),
                actor: cut(text, ACTOR_BYTES),
                client_ip: entry.client_ip,
                peer_ip: entry.peer_ip,
                action: cut(text, WORD_BYTES),
                target: cut(text, TARGET_BYTES),
                outcome: cut(text, WORD_BYTES),
                status: entry.status,
                prev: &after.hash.to_string(),
            };
            let expected = serde_json::to_string(&body).unwrap();
            let start = out.len();
            after = pen.render(after, now, &entry, &mut out).unwrap();
            let line = str::from_utf8(&out[start..]).unwrap();
            let begins = expected.strip_suffix('}').unwrap();
            assert_eq!(line, format!("{begins},\"hash\":\"{}\"}}\n", after.hash));
        }
    }
}
