//! `webb share-directory`: gives a directory to a group. The image has no other program, so the
//! chart's init container runs this one before an agent writes flow logs to the node.

use std::fs::create_dir_all;
use std::io::{self, Write};
use std::path::{Component, Path};

use rustix::fs::{Gid, Mode, OFlags};

use crate::cli::{Exit, ShareDirectoryArgs};

/// What is added to the directory's mode: its group may make, list and reach files, which are the
/// group's too.
const ADDED: u32 = 0o2070;

/// Makes the directory if it is missing, and gives it to the group; prints what was done.
///
/// # Errors
/// When `out` cannot be written. A directory that cannot be shared is printed on standard error.
pub fn share_directory(arguments: &ShareDirectoryArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let ShareDirectoryArgs { directory, group } = arguments;
    match share(directory, *group) {
        Ok(what) => writeln!(out, "{}: {what}", directory.display()).map(|()| Exit::Success),
        Err(error) => {
            eprintln!(
                "{} cannot be given to the group {group}: {error}; run this as the directory's owner, in that group, or \
                 give the directory to the group on the node",
                directory.display()
            );
            Ok(Exit::Output)
        }
    }
}

fn share(directory: &Path, group: u32) -> io::Result<&'static str> {
    let is_plain = directory.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !directory.is_absolute() || !is_plain || directory.parent().is_none() {
        return Err(io::Error::other("expected an absolute path without `..`, and not that of the root"));
    }
    if group == u32::MAX {
        return Err(io::Error::other("there is no such group"));
    }
    create_dir_all(directory)?;
    // What is changed is what was looked at, and no link leads elsewhere.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&opened)?;
    if found.st_gid == group && found.st_mode & ADDED == ADDED {
        return Ok("it is the group's already");
    }
    // The owner may do so for a group of its own, without a capability.
    rustix::fs::fchown(&opened, None, Some(Gid::from_raw(group)))?;
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(found.st_mode & 0o7777 | ADDED))?;
    Ok("it is the group's now")
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, metadata, set_permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use tempfile::tempdir;

    use super::*;

    /// A directory is made and shared once; what is no directory, or cannot be made, is an error.
    #[test]
    fn shares_a_directory() {
        let folder = tempdir().unwrap();
        let group = metadata(folder.path()).unwrap().gid();
        let inner = folder.path().join("a/b");
        assert_eq!(share(&inner, group).unwrap(), "it is the group's now");
        assert_eq!(metadata(&inner).unwrap().mode() & 0o7777, 0o2775);
        assert_eq!(share(&inner, group).unwrap(), "it is the group's already");
        set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(share(&inner, group).unwrap(), "it is the group's now");
        set_permissions(&inner, Permissions::from_mode(0o1700)).unwrap();
        assert_eq!(share(&inner, group).unwrap(), "it is the group's now");
        assert_eq!(metadata(&inner).unwrap().mode() & 0o7777, 0o3770, "others get nothing");
        std::fs::write(folder.path().join("file"), "").unwrap();
        share(&folder.path().join("file"), group).unwrap_err();
        share(&folder.path().join("file/c"), group).unwrap_err();
        std::os::unix::fs::symlink(&inner, folder.path().join("link")).unwrap();
        share(&folder.path().join("link"), group).unwrap_err();
        share(&inner.join(".."), group).unwrap_err();
        share(Path::new("/"), group).unwrap_err();
        share(Path::new("relative"), group).unwrap_err();
        share(&inner, u32::MAX).unwrap_err();
    }
}
