//! HPACK's Huffman code (RFC 7541, appendix B), decoded four bits at a time.
//!
//! The code is canonical, so the lengths of its words define it; the compiler makes the table of
//! steps from them.

/// Bits of each symbol's word; the last is the end of the string, which never stands in one.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const SYMBOLS: usize = 257;
const END: u16 = 256;
const LONGEST: u8 = 30;

/// Inner nodes of the code's tree; a child of this or more is a symbol.
const NODES: usize = 256;

/// State after four more bits.
#[derive(Clone, Copy)]
struct Step {
    node: u8,
    symbol: Option<u8>,
    fails: bool,
}

static STEPS: [[Step; 16]; NODES] = steps();

/// Nodes at which a string may end: fewer than eight bits of the end's word were read.
static ENDS: [bool; NODES] = ends();

/// The two children of each node.
#[allow(clippy::indexing_slicing, reason = "the compiler runs it: what is out of bounds does not build")]
#[allow(clippy::cast_possible_truncation, reason = "numbers of nodes and symbols are below 513")]
const fn tree() -> [[u16; 2]; NODES] {
    let mut children = [[0_u16; 2]; NODES];
    let (mut nodes, mut code, mut length) = (1, 0_u32, 1);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] == length {
                let (mut node, mut bit) = (0, length - 1);
                while bit > 0 {
                    let side = (code >> bit & 1) as usize;
                    if children[node][side] == 0 {
                        children[node][side] = nodes;
                        nodes += 1;
                    }
                    node = children[node][side] as usize;
                    bit -= 1;
                }
                children[node][(code & 1) as usize] = NODES as u16 + symbol as u16;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    children
}

#[allow(clippy::indexing_slicing, reason = "the compiler runs it: what is out of bounds does not build")]
#[allow(clippy::cast_possible_truncation, reason = "nodes are below 256")]
const fn steps() -> [[Step; 16]; NODES] {
    let children = tree();
    let mut steps = [[Step { node: 0, symbol: None, fails: false }; 16]; NODES];
    let mut node = 0;
    while node < NODES {
        let mut bits = 0;
        while bits < 16 {
            let (mut at, mut bit) = (node as u16, 4);
            let step = &mut steps[node][bits];
            while bit > 0 {
                bit -= 1;
                at = children[at as usize][bits >> bit & 1];
                if at == NODES as u16 + END {
                    step.fails = true;
                    at = 0;
                } else if at >= NODES as u16 {
                    step.symbol = Some((at - NODES as u16) as u8);
                    at = 0;
                }
            }
            step.node = at as u8;
            bits += 1;
        }
        node += 1;
    }
    steps
}

#[allow(clippy::indexing_slicing, reason = "the compiler runs it: what is out of bounds does not build")]
const fn ends() -> [bool; NODES] {
    let children = tree();
    let mut ends = [false; NODES];
    let (mut node, mut depth) = (0, 0);
    while depth < 8 {
        ends[node] = true;
        node = children[node][1] as usize;
        depth += 1;
    }
    ends
}

/// Appends the decoded text to `out`. None if the bytes are no such text.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut node = 0_u8;
    for byte in bytes {
        for bits in [byte >> 4, byte & 15] {
            let step = STEPS.get(usize::from(node))?.get(usize::from(bits))?;
            if step.fails {
                return None;
            }
            out.extend(step.symbol);
            node = step.node;
        }
    }
    ENDS.get(usize::from(node))?.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode(bytes, &mut out)?;
        Some(String::from_utf8_lossy(&out).into_owned())
    }

    /// RFC 7541, appendix C, and what its section 5.2 forbids.
    #[test]
    fn words() {
        let example = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(text(&example).as_deref(), Some("www.example.com"));
        assert_eq!(text(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some("no-cache"));
        assert_eq!(text(&[]).as_deref(), Some(""));
        assert_eq!(text(&[0x07]).as_deref(), Some("0"), "three ones behind a word");
        assert_eq!(text(&[0x06]), None, "padding that is not ones");
        assert_eq!(text(&[0x07, 0xff]), None, "more than seven bits of padding");
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff]), None, "the end stands in no string");
    }
}
