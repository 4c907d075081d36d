//! What goes in with a call and must come back from it: a body that no other call has.

use crate::command::{Kind, pattern};
use crate::replies::{Frame, Gathered};

const OK: u32 = 0;
const STREAM_END: u32 = 4;

/// Every byte tells the call and its own place: a frame of another call, or in another's place, is seen.
pub(crate) fn body_of(number: u64, size: usize) -> Vec<u8> {
    let start = (number % 251) as usize; // below 251
    let mut body: Vec<u8> = (0..size).map(|at| pattern(start + at)).collect();
    for (byte, of_number) in body.iter_mut().zip(number.to_le_bytes()) {
        *byte = of_number;
    }
    body
}

/// The body cut into so many pieces, and a shorter one where that leaves a rest; no fewer bytes than one each.
pub(crate) fn pieces(body: &[u8], count: usize) -> std::slice::Chunks<'_, u8> {
    body.chunks((body.len() / count.max(1)).max(1))
}

/// Whether a call was answered by its body: one reply, or frames that are the body when they are put together, and
/// `StreamEnd` without bytes.
pub(crate) fn is_echo(kind: Kind, body: &[u8], gathered: &Gathered) -> bool {
    let (frames, ends_well) = match (kind, gathered.frames.as_slice()) {
        (Kind::Stream, [frames @ .., last]) => (frames, last.status == STREAM_END && last.data.is_empty()),
        (_, frames) => (frames, frames.len() == 1),
    };
    let mut rest = Some(body);
    for Frame { status, data } in frames {
        rest = rest.and_then(|rest| rest.strip_prefix(data.as_slice()));
        rest = rest.filter(|_| *status == OK);
    }
    ends_well && rest.is_some_and(<[u8]>::is_empty)
}

#[cfg(test)]
mod tests {
    use super::{Frame, Gathered, Kind, body_of, is_echo, pieces};

    fn gathered<'a>(frames: impl IntoIterator<Item = (u32, &'a [u8])>) -> Gathered {
        let frame = |(status, data): (u32, &[u8])| Frame {
            status,
            data: data.to_vec(),
        };
        Gathered {
            frames: frames.into_iter().map(frame).collect(),
            ended: true,
            ..Gathered::default()
        }
    }

    #[test]
    fn a_body_is_its_calls_own() {
        let body = body_of(258, 300);
        assert_eq!((&body[..8], body[8], body[251]), (&[2, 1, 0, 0, 0, 0, 0, 0][..], 15, 7));
        assert_ne!(body_of(1, 40)[8..], body_of(2, 40)[8..]);
        assert_eq!(body_of(7, 0), b"");
    }

    #[test]
    fn a_body_in_pieces() {
        assert_eq!(
            pieces(b"abcdefghi", 4).collect::<Vec<_>>(),
            [&b"ab"[..], b"cd", b"ef", b"gh", b"i"]
        );
        assert_eq!(pieces(b"abc", 8).count(), 3);
        assert_eq!(pieces(b"", 8).count(), 0);
    }

    #[test]
    fn an_echo() {
        let right = [(0, &b"ab"[..]), (0, b""), (0, b"c"), (4, b"")];
        assert!(is_echo(Kind::Stream, b"abc", &gathered(right)));
        assert!(is_echo(Kind::Stream, b"", &gathered([(4, &b""[..])])));
        assert!(is_echo(Kind::Unary, b"abc", &gathered([(0, &b"abc"[..])])));
        let wrong: [&[(u32, &[u8])]; 8] = [
            &[(0, b"c"), (0, b"ab"), (4, b"")],
            &[(0, b"ab"), (4, b"")],
            &[(0, b"abcd"), (4, b"")],
            &[(0, b"abc"), (4, b"x")],
            &[(0, b"abc"), (1, b"")],
            &[(1, b"abc"), (4, b"")],
            &[(0, b"abc")],
            &[],
        ];
        for frames in wrong {
            assert!(
                !is_echo(Kind::Stream, b"abc", &gathered(frames.iter().copied())),
                "{frames:?}"
            );
        }
        for reply in [(1, &b"abc"[..]), (0, b"ab")] {
            assert!(!is_echo(Kind::Unary, b"abc", &gathered([reply])));
        }
    }
}
