//! TLS with a certificate of an authority that only `SSL_CERT_FILE` names.

use belljar_test_support::{Server, said};
use tempfile::TempDir;

#[test]
fn a_certificate_is_trusted_by_ssl_cert_file_and_by_nothing_else() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(at("chain.pem"), made.cert.pem()).unwrap();
    std::fs::write(at("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let server = Server::start_in(
        &folder.path().join("home"),
        &["--tls-certificates", &at("chain.pem"), "--tls-key", &at("key.pem")],
    );
    assert!(server.url.starts_with("https://"), "{}", server.url);

    let with = |file: &str| {
        said(
            server
                .client(["run", "--remote", "-l", "js", "-e", "1 + 1"])
                .env("SSL_CERT_FILE", file)
                .env_remove("SSL_CERT_DIR"),
        )
    };
    let trusted = with(&at("chain.pem"));
    assert_eq!((trusted.code, trusted.stdout.as_str()), (Some(0), "2\n"), "{trusted:?}");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(at("other.pem"), other.cert.pem()).unwrap();
    with(&at("other.pem")).fails(
        70,
        &["the certificate of the server at https://127.0.0.1", "is not trusted", "SSL_CERT_FILE"],
    );
    with(&at("missing.pem")).fails(70, &["cannot load trusted certificates"]);
}
