//! A connection to the stub: passes lines to the dialogue and writes the replies, each in one write.

use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::dialogue::{Action, Dialogue, Shared};
use crate::mailbox::Wire;

/// Maximum length of a line.
const BUFFER_BYTES: usize = 2 << 10;

/// Serves one client until it leaves.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Shared,
) -> io::Result<()> {
    let mut input = [0; BUFFER_BYTES];
    let mut filled = 0;
    let mut output = Vec::with_capacity(64);
    let mut dialogue = Dialogue::begin(shared, &mut output);
    loop {
        // Commands that arrive together (PIPELINING) are answered together.
        let mut done = 0;
        while let Some(end) = memchr::memchr(b'\n', &input[done..filled]) {
            let line = &input[done..done + end];
            done += end + 1;
            match dialogue.answer(line.strip_suffix(b"\r").unwrap_or(line), &mut output) {
                Action::Continue => {}
                Action::Send(wire) => {
                    write_message(&mut stream, &output, &wire).await?;
                    output.clear();
                }
                Action::Close => {
                    stream.write_all(&output).await?;
                    return stream.shutdown().await;
                }
            }
        }
        if !output.is_empty() {
            stream.write_all(&output).await?;
            stream.flush().await?;
            output.clear();
        }
        input.copy_within(done..filled, 0);
        filled -= done;
        if filled == input.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
        }
        match stream.read(&mut input[filled..]).await? {
            0 => return Ok(()),
            length => filled += length,
        }
    }
}

async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    before: &[u8],
    wire: &Wire<'_>,
) -> io::Result<()> {
    let [head, body, tail] = wire.parts();
    let mut slices = [before, head, body, tail].map(IoSlice::new);
    let mut slices = &mut slices[..];
    // Removes empty slices at the front.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let written = stream.write_vectored(slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    stream.flush().await
}
