//! The control socket's file, and who may use it.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The control socket cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another daemon answers on it.
    #[error(
        "daemon.control_socket: another Qantra is running and answers on {0}; stop it first, or use another socket"
    )]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("daemon.control_socket: {0} is not a socket; move it away, or use another path")]
    NotASocket(PathBuf),
    /// The group is not known.
    #[error("daemon.control_group: this system has no group `{0}`; make it with `groupadd {0}`, or name another")]
    UnknownGroup(String),
    /// The file cannot be made.
    #[error("daemon.control_socket: cannot make {path}: {source}; check the folder and who owns it")]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Who may use the socket, besides root and the user that the daemon runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Members of this group.
    gid: Option<u32>,
    /// Those whom `/etc/group` lists as its members.
    member_uids: Vec<u32>,
}

impl Access {
    /// Looks a group up in `/etc/group`, its members in `/etc/passwd`.
    ///
    /// # Errors
    /// There is no such group.
    pub fn of_group(group: Option<&str>) -> Result<Self, ApiError> {
        let Some(group) = group else { return Ok(Self::default()) };
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(group, &read("/etc/group"), &read("/etc/passwd"))
            .ok_or_else(|| ApiError::UnknownGroup(group.to_owned()))
    }

    /// group(5): `name:password:gid:members`; passwd(5): `name:password:uid:…`.
    fn parse(group: &str, groups: &str, users: &str) -> Option<Self> {
        let fields: Vec<&str> =
            groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == group)?;
        let members: Vec<&str> = fields.get(3).map(|list| list.split(',').collect()).unwrap_or_default();
        let uid = |line: &str| {
            let mut user = line.split(':');
            let name = user.next()?;
            members.contains(&name).then(|| user.nth(1)?.parse().ok()).flatten()
        };
        Some(Self { gid: Some(fields.get(2)?.parse().ok()?), member_uids: users.lines().filter_map(uid).collect() })
    }

    /// Whether a peer, as the kernel vouches for it, may use the socket.
    #[must_use]
    pub fn permits(&self, uid: u32, gid: u32) -> bool {
        let own = rustix::process::geteuid().as_raw();
        uid == 0 || uid == own || self.gid == Some(gid) || self.member_uids.contains(&uid)
    }
}

/// The listening socket; its file goes when this value goes.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    pub(super) listener: UnixListener,
    pub(super) access: Access,
}

impl ControlSocket {
    /// Makes the socket's file, in place of one that a dead daemon left.
    ///
    /// # Errors
    /// Another daemon answers on it, something else lies there, the group is not known, or the folder refuses.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ApiError> {
        let make = |source| ApiError::Make { path: path.into(), source };
        let access = Access::of_group(group)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(make)?;
        }
        match fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => return Err(ApiError::NotASocket(path.into())),
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(make)?,
                Err(error) => return Err(make(error)),
                Ok(_) => return Err(ApiError::Taken(path.into())),
            },
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(make)?;
        let this = Self { path: path.into(), listener, access };
        // Peers are checked one by one as well; until here the file has what umask left.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(make)?;
        if let Some(gid) = this.access.gid {
            chown(path, None, Some(gid)).map_err(make)?;
        }
        this.listener.set_nonblocking(true).map_err(make)?;
        Ok(this)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket's file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_looked_up() {
        let groups = "root:x:0:\nqantra:x:990:ann,bob\n";
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/:/bin/sh\nbobby:x:1001:1001::/:/bin/sh\n";
        let access = Access::parse("qantra", groups, users).unwrap();
        assert_eq!(access, Access { gid: Some(990), member_uids: vec![1000] });
        assert!(access.permits(0, 0) && access.permits(1000, 1000) && access.permits(5, 990));
        assert!(!access.permits(1001, 1001));
        assert_eq!(Access::parse("nobody-knows", groups, users), None);
        assert_eq!(Access::parse("x", "x\n", ""), None);
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_a_live_ones_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/control.sock");
        let live = ControlSocket::bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(ControlSocket::bind(&path, None), Err(ApiError::Taken(_))));
        // A daemon that was killed leaves the file behind.
        let ControlSocket { listener, .. } = &live;
        let copy = listener.try_clone().unwrap();
        std::mem::forget(live);
        drop(copy);
        drop(UnixListener::bind(dir.path().join("dead.sock")).unwrap());
        let again = ControlSocket::bind(&dir.path().join("dead.sock"), None).unwrap();
        drop(again);
        assert!(!dir.path().join("dead.sock").exists());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(ControlSocket::bind(&dir.path().join("file"), None), Err(ApiError::NotASocket(_))));
    }
}
