//! A harmful proxy, which cuts connections and changes a byte of the data.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The harm done to one connection.
#[derive(Clone, Copy, Debug)]
pub enum Harm {
    /// Cuts the connection after this number of bytes of answers.
    CutAfter(usize),
    /// Changes the byte at this position of the answers.
    Change(usize),
}

/// A harmful proxy in front of a server.
pub struct Proxy {
    pub url: String,
    /// The number of connections so far.
    pub count: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts a proxy in front of a server. Each connection gets the next harm, and those after the
    /// last get none.
    pub fn start(server: &str, harms: Vec<Harm>) -> Self {
        let server: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let harm = harms.get(counted.fetch_add(1, Ordering::SeqCst)).copied();
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (mut from_client, mut to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Write);
                });
                std::thread::spawn(move || carry(server, client, harm));
            }
        });
        Self { url, count }
    }
}

fn carry(mut server: TcpStream, mut client: TcpStream, harm: Option<Harm>) {
    let mut buffer = vec![0; 16 << 10];
    let mut carried = 0;
    while let Ok(count) = server.read(&mut buffer) {
        let mut piece = &mut buffer[..count];
        if count == 0 {
            break;
        }
        match harm {
            Some(Harm::CutAfter(most)) => {
                let left = most - carried;
                piece = &mut piece[..left.min(count)];
            }
            Some(Harm::Change(at)) if (carried..carried + count).contains(&at) => {
                piece[at - carried] ^= 1;
            }
            _ => {}
        }
        carried += piece.len();
        if client.write_all(piece).is_err()
            || matches!(harm, Some(Harm::CutAfter(most)) if carried == most)
        {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
