//! The contents of a tool's root.

use std::fs;

use belljar_jail::{
    Bind, BindAccess, BindOwner, FIRST_UID, GeneratedFile, HOME, RootPlan, ToolNetwork,
};

use super::request::{FolderAccess, Tool};
use crate::root::{show, show_as, system};

/// Returns the root of a tool: the parts of the system that it needs, the folders that it can use,
/// and the host's configuration for resolving names.
pub(super) fn plan(tool: &Tool) -> RootPlan {
    let mut plan = system();
    show(&mut plan, &tool.shows);
    for folder in &tool.folders {
        let access =
            if folder.access == FolderAccess::Write { BindAccess::Write } else { BindAccess::Read };
        plan.binds.push(Bind {
            owner: BindOwner::Sandbox,
            ..show_as(&folder.outside, &folder.inside, access)
        });
    }
    let users = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\nuser:x:{FIRST_UID}:{FIRST_UID}::{HOME}:/bin/sh\n"
    );
    let mut files = vec![
        ("/etc/passwd".to_owned(), users.into_bytes()),
        ("/etc/group".to_owned(), format!("root:x:0:\nuser:x:{FIRST_UID}:\n").into_bytes()),
    ];
    if tool.network == ToolNetwork::Host {
        let of_host = |path: &str| fs::read(path).ok().map(|content| (path.to_owned(), content));
        files.extend(
            ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf"]
                .into_iter()
                .filter_map(of_host),
        );
    }
    files.extend(
        tool.files.iter().map(|(path, content)| (path.display().to_string(), content.clone())),
    );
    plan.files.extend(
        files.into_iter().map(|(path, content)| GeneratedFile { path: path.into(), content }),
    );
    plan
}
