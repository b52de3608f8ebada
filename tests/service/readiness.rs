//! Readiness follows what the machine allows while the server runs.

use std::process::Command;

use belljar_test_support::{Server, eventually};

#[test]
fn a_server_is_not_ready_while_sandboxes_cannot_be_created() {
    // In a user namespace of its own, whose limits apply to this server alone.
    let server = Server::start_through(
        &["unshare", "--user", "--map-user=1000", "--map-group=1000"],
        "allow_degraded = true",
    );
    server.get("/readyz").is(200);
    // Not with nsenter, whose command would have no capabilities in the namespace.
    let set_namespaces = |count: &str| {
        let program = "import ctypes, os, sys\n\
                       namespace = os.open(f'/proc/{sys.argv[1]}/ns/user', os.O_RDONLY)\n\
                       assert ctypes.CDLL(None).setns(namespace, 0) == 0\n\
                       open('/proc/sys/user/max_pid_namespaces', 'w').write(sys.argv[2])";
        let set = Command::new("python3")
            .args(["-c", program, &server.pid().to_string(), count])
            .status()
            .unwrap();
        assert!(set.success(), "{set}");
    };
    set_namespaces("0");
    // A successful probe counts for ten seconds.
    eventually("the server is no longer ready", || server.get("/readyz").status == 503);
    set_namespaces("1000");
    server.get("/readyz").is(200);
}
