//! A server of canned answers, for tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{ClientOptions, HttpClient, S3Client};
use crate::credentials::Credentials;

/// What the server does with one request.
pub(crate) enum Answer {
    /// Status, headers, body.
    Whole(u16, &'static [(&'static str, &'static str)], &'static str),
    /// The head of a 200 and a part of its body, then silence.
    Silent,
    /// The head of a 200 with these headers, then silence.
    Head(&'static [(&'static str, &'static str)]),
    /// A 200 of unsaid length, the chunks as they are sent, then silence.
    Chunked(&'static str),
    /// The head of a 200 and a part of its body, then the end.
    Cut,
    /// The end.
    Closed,
}

/// Gives its answers in their order, then 500.
pub(crate) struct TestServer {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl TestServer {
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&requests);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log), Arc::clone(&answers)));
            }
        });
        Self {
            url,
            requests,
            _tasks: tasks,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Heads and bodies, as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn client(&self, credentials: &Credentials) -> S3Client {
        let options = ClientOptions {
            region: "eu-west-1".into(),
            endpoint_url: Some(self.url.clone()),
            force_path_style: true,
            max_connections: 4,
        };
        S3Client::new(
            &HttpClient::new(4, &crate::Network::default()),
            &options,
            credentials,
        )
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) {
    while let Some(request) = read_request(&mut stream).await {
        let head_request = request.starts_with("HEAD ");
        requests.lock().unwrap().push(request);
        let answer = answers.lock().unwrap().pop_front();
        let answer = answer.unwrap_or(Answer::Whole(500, &[], ""));
        let text = match &answer {
            Answer::Closed => return,
            Answer::Silent | Answer::Cut => {
                "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml version=\"1.0\"?>".to_owned()
            }
            Answer::Head(headers) => head(200, headers) + "\r\n",
            Answer::Chunked(chunks) => {
                head(200, &[("Transfer-Encoding", "chunked")]) + "\r\n" + chunks
            }
            Answer::Whole(status, headers, body) => {
                let mut text = head(*status, headers);
                if !head_request {
                    let _ = write!(text, "Content-Length: {}\r\n", body.len());
                }
                text + "\r\n" + body
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        match answer {
            Answer::Silent | Answer::Head(_) | Answer::Chunked(_) => {
                // Until the other side gives up.
                let _ = stream.read(&mut [0]).await;
                requests.lock().unwrap().push("closed".into());
                return;
            }
            Answer::Cut => return,
            _ => {}
        }
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> String {
    let mut text = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.ok()?;
        if read == 0 {
            return None;
        }
        request.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(str::to_owned)
            })
            .map_or(0, |length| length.trim().parse::<usize>().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}
