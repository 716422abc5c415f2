//! Raw Ethernet frames from an interface of a network namespace.

use std::process::Command;

/// Sends one frame, given in hex, of which only the first 14 bytes are in the packet's linear part:
/// the kernel does that for a large frame whose sender says that its headers are so long.
const SEND_PAGED: &str = r#"
    my ($device, $frame) = @ARGV;
    open(my $index, "<", "/sys/class/net/$device/ifindex") or die "ifindex: $!";
    socket(my $socket, 17, 3, 0) or die "socket: $!";
    setsockopt($socket, 263, 15, pack("i", 1)) or die "PACKET_VNET_HDR: $!";
    my $to = pack("SnlSCCa8", 17, 0x0800, <$index>, 0, 0, 6, "");
    send($socket, pack("CCSSSS", 0, 0, 14, 0, 0, 0) . pack("H*", $frame), 0, $to) or die "send: $!";
"#;

/// Sends one Ethernet frame from an interface of a namespace.
pub(crate) fn send_frame(pod: &str, interface: &str, frame: &[u8]) {
    let hex = frame.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    // sysfs shows the devices of the namespace that mounted it, which `ip netns exec` does anew.
    let sent =
        Command::new("ip").args(["netns", "exec", pod, "perl", "-e", SEND_PAGED, interface, &hex]).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
}
