use proptest::prelude::*;

use super::*;

/// A header of version 2 with these bytes after its first sixteen.
fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap();
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(rest);
    header
}

fn v4(client: [u8; 4]) -> Vec<u8> {
    let mut rest = client.to_vec();
    rest.extend([127, 0, 0, 1, 0x30, 0x39, 0x20, 0x08]);
    rest
}

/// What is read of these bytes, and how many of them.
fn told(mut bytes: &[u8]) -> (Result<Option<IpAddr>, Refused>, usize) {
    let all = bytes.len();
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let told = runtime.unwrap().block_on(read(&mut bytes));
    (told, all - bytes.len())
}

#[test]
fn a_header_names_the_client_and_what_follows_is_left() {
    let mut v6 = vec![0; 36];
    v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    let mut with_fields = v4([192, 0, 2, 7]);
    with_fields.extend([0x04, 0, 3, 1, 2, 3]);
    for (bytes, client) in [
        (header(0x21, 0x11, &v4([192, 0, 2, 7])), Some("192.0.2.7")),
        (header(0x21, 0x11, &with_fields), Some("192.0.2.7")),
        (header(0x21, 0x21, &v6), Some("2001:db8::7")),
        // A proxy that speaks for itself, as in its checks of health.
        (header(0x20, 0x00, &[]), None),
        (header(0x20, 0x11, &v4([192, 0, 2, 7])), None),
    ] {
        let long = bytes.len();
        let bytes = [&bytes[..], b"GET / HTTP/1.1"].concat();
        let client = client.map(|client| client.parse().unwrap());
        assert_eq!(told(&bytes), (Ok(client), long), "{bytes:?}");
    }
}

#[test]
fn what_is_no_such_header_is_refused_without_reading_all_of_it() {
    let good = header(0x21, 0x11, &v4([192, 0, 2, 7]));
    for cut in 0..good.len() {
        let ended = if cut == 0 { HUNG_UP } else { cut_short() };
        assert_eq!(told(&good[..cut]).0, Err(ended), "{cut}");
    }
    let long = header(0x21, 0x11, &[1; 10_000]);
    assert_eq!(told(&long), (Err(too_long()), HEAD_BYTES));
    let most = header(0x21, 0x11, &[1; REST_BYTES]);
    assert!(told(&most).0.is_ok());
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8200\r\nGET / HTTP/1.1\r\n\r\n";
    assert_eq!(told(v1), (Err(Refused("it is of version 1")), HEAD_BYTES));
    for none in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0",
    ] {
        assert_eq!(told(none).0, Err(Refused("it is missing")));
    }
    for (command, family, rest) in [
        // Version 1 and 3, and a command that there is not.
        (0x11, 0x11, 12),
        (0x31, 0x11, 12),
        (0x22, 0x11, 12),
        // Unknown, UDP, Unix.
        (0x21, 0x00, 0),
        (0x21, 0x12, 12),
        (0x21, 0x22, 36),
        (0x21, 0x31, 216),
        // Too short for its family.
        (0x21, 0x11, 11),
        (0x21, 0x21, 35),
    ] {
        let told = told(&header(command, family, &vec![0; rest])).0;
        assert!(told.is_err(), "{command:x} {family:x} {rest}: {told:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_read_on(
        begin in 0..=SIGNATURE.len(),
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
    ) {
        // Most random bytes are refused at once: let some begin well.
        let bytes = [&SIGNATURE[..begin], &bytes[..]].concat();
        let (told, read) = told(&bytes);
        prop_assert!(read <= HEAD_BYTES + REST_BYTES);
        if told.is_ok() {
            let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
            prop_assert_eq!(read, HEAD_BYTES + length);
        }
    }

    #[test]
    fn whatever_a_good_header_carries_it_is_taken_whole(
        client in any::<[u8; 4]>(),
        fields in proptest::collection::vec(any::<u8>(), 0..=REST_BYTES - 12),
        after in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut rest = v4(client);
        rest.extend(fields);
        let header = header(0x21, 0x11, &rest);
        let bytes = [&header[..], &after[..]].concat();
        prop_assert_eq!(told(&bytes), (Ok(Some(IpAddr::from(client))), header.len()));
    }
}
