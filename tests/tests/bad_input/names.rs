//! Names and parameters.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let mut long = MARK.repeat(10_000 / MARK.len() + 1);
    long.truncate(10_000);
    let paths = [
        "..",
        ".",
        "../there",
        "a/../there",
        "a/..",
        "./there",
        "there/.",
        "there/..",
        "%2e%2e/there",
        "a/%2e%2e/there",
        "%2e",
        "a%2fb",
        "a%2Fb",
        "%2f",
        "there%2f",
        "a%252fb",
        "there%00",
        "%00",
        "a%0ab",
        "a%0d%0ab",
        "a%7f",
        "a%1b",
        "a//b",
        "/there",
        "//",
        "there/",
        "there//",
        "%20there",
        "there%20",
        "a%5cb",
        "%ff",
        "%c3%a4",
        "%",
        "%2",
        "%zz",
        "a%",
        "a%2",
        "*",
        "a*",
        "there;x",
        "there%3f",
        "a'b",
        "a%22b",
        "a%3cb",
        "%ef%bc%8fx",
        "there%e2%80%8b",
        "a&b",
        "(a)",
        "a|b",
        "a$b",
    ];
    for path in paths.into_iter().chain([long.as_str()]) {
        let target = format!("/v1/secrets/{path}");
        for (method, body) in [
            ("GET", None),
            ("HEAD", None),
            ("PUT", Some(r#"{"value":"hunter2hunter2"}"#)),
            ("DELETE", None),
        ] {
            let answer = match body {
                Some(body) => admin.text(method, &target, body).await,
                None => admin.plain(method, &target).await,
            };
            assert_eq!(answer.status, 400, "{method} {target}: {}", answer.text);
            if method != "HEAD" {
                lab.refused(&answer, 400, &target);
            }
        }
        let verify = format!("{target}/verify");
        let answer = admin.post(&verify, &json!({"value": "v"})).await;
        lab.refused(&answer, 400, &verify);
    }
    // The same name stands in a body: there nothing is decoded.
    let long_ok = "x".repeat(513);
    for name in [
        "",
        "/",
        "..",
        ".",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "a/./b",
        "a b",
        " a",
        "a%2fb",
        "a%2Fb",
        "%2e%2e",
        "a\0b",
        "a\nb",
        "a\u{7f}",
        "ä",
        "日本",
        "a\u{200b}",
        "a*",
        "a\\b",
        "a?b",
        "a#b",
        "a\u{202e}b",
        "a/../../etc/passwd",
        &long,
        &long_ok,
    ] {
        let body = json!({"name": name, "value": MARK});
        let answer = admin.post("/v1/secrets", &body).await;
        lab.refused(&answer, 400, name);
        for (at, body) in [
            ("/v1/roles", json!({"name": name})),
            ("/v1/tokens", json!({"name": name, "role": "admin"})),
            ("/v1/tokens", json!({"name": "t", "role": name})),
        ] {
            lab.refused(&admin.post(at, &body).await, 400, &format!("{at} {name}"));
        }
        let batch = json!({"names": ["there", name]});
        let answer = admin.post("/v1/batch/secrets", &batch).await;
        lab.refused(&answer, 400, name);
    }
    for path in ["a%2fb", "..", "%00", "a%20b", &long] {
        for target in [format!("/v1/roles/{path}"), format!("/v1/tokens/{path}")] {
            lab.refused(&admin.delete(&target).await, 400, &target);
        }
        let target = format!("/v1/roles/{path}/permissions");
        let body = json!({"permissions": []});
        lab.refused(&admin.put(&target, &body).await, 400, &target);
    }
    for target in [
        "/v1/secrets/",
        "/v1/secrets?",
        "/v1/roles/",
        "/v1/tokens/",
        "/v1//secrets",
        "//v1/secrets",
        "/V1/secrets",
        "/v1/secrets/there/verify/x",
        "/v1/./secrets",
        "/v1/x/../secrets",
        "/v1%2fsecrets",
        "/v1/roles/a/b",
    ] {
        let answer = admin.post(target, &json!({"name": "n"})).await;
        assert!(
            [400, 404, 405].contains(&answer.status),
            "{target}: {}",
            answer.text
        );
    }
    // Names differ by case, and every allowed character is one.
    for name in [
        "There",
        "a.b_c-d~e@f+g=h:i,j",
        "...",
        "a/.../b",
        ".a",
        "a.",
        "-",
    ] {
        let body = json!({"name": name, "value": "v"});
        admin.post("/v1/secrets", &body).await.expect(201);
        let target = format!("/v1/secrets/{name}");
        let read = admin.get(&target).await.expect(200);
        assert_eq!(read.json["name"], name);
        admin.delete(&target).await.expect(204);
    }
    // Encoded where it need not be: decoded once, and the same name.
    admin.get("/v1/secrets/%74here").await.expect(200);
    lab.nothing_changed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense() {
    let lab = Lab::start(&[]).await;
    let admin = lab.admin();
    let huge = "9".repeat(40);
    let long = "a".repeat(20_000);
    for (target, status) in [
        ("/v1/secrets?limit=0", 400),
        ("/v1/secrets?limit=-1", 400),
        ("/v1/secrets?limit=abc", 400),
        ("/v1/secrets?limit=", 400),
        ("/v1/secrets?limit=1.0", 400),
        ("/v1/secrets?limit=%31", 200),
        (&format!("/v1/secrets?limit={huge}"), 400),
        ("/v1/secrets?limit=1000000", 200),
        ("/v1/secrets?prefix=%zz", 400),
        ("/v1/secrets?prefix=%ff", 400),
        (&format!("/v1/secrets?prefix={long}"), 400),
        (&format!("/v1/secrets?after={long}"), 400),
        ("/v1/secrets?after=..%2F..", 200),
        ("/v1/secrets?unknown=1&&=&x", 200),
        ("/v1/roles?limit=0", 400),
        ("/v1/roles?after=a%2Fb", 400),
        ("/v1/tokens?limit=abc", 400),
        ("/v1/audit?limit=0", 400),
        ("/v1/audit?after=-1", 400),
        ("/v1/audit?after=abc", 400),
        ("/v1/secrets/there?version=abc", 400),
        ("/v1/secrets/there?version=-1", 400),
        ("/v1/secrets/there?version=", 400),
        ("/v1/secrets/there?version=1.0", 400),
        (&format!("/v1/secrets/there?version={huge}"), 400),
        ("/v1/secrets/there?version=0", 404),
        ("/v1/secrets/there?consistency=", 400),
        ("/v1/secrets/there?consistency=LOCAL", 400),
    ] {
        let answer = admin.get(target).await;
        match status {
            200 => drop(answer.expect(200)),
            status => drop(lab.refused(&answer, status, target)),
        }
    }
    lab.nothing_changed().await;
}
