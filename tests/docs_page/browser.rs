//! Chromium, headless, driven through `WebDriver` (<https://www.w3.org/TR/webdriver2/>).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use pbx_tests::wait::within_limit;
use pbx_tests::{Http, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The member that holds an element's reference, as the standard has it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window and no past, gone with the value.
pub(crate) struct Browser {
    driver: Child,
    http: Http,
    session: String,
    directory: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("web-").tempdir().expect("a directory for the browser");
        let log = directory.path().join("driver");
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .env("HOME", directory.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).expect("the driver's log"))
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start chromedriver (package chromium-driver): {error}"));
        let mut browser = Self { driver, http: Http::new("", None), session: String::new(), directory };
        let port = until("the driver's port", || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            Some(said.split_once("successfully on port ")?.1.split_once('.')?.0.to_owned())
        });
        browser.http = Http::new(&format!("http://127.0.0.1:{port}"), None);
        let data = format!("--user-data-dir={}", browser.data().display());
        let answer = browser.http.post(
            "/session",
            &json!({"capabilities": {"alwaysMatch": {
                "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--window-size=1280,2600", data,
                ]},
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }}}),
        );
        browser.session = format!("/session/{}", answer.expect(200).string("/value/sessionId"));
        // Its first page is Chromium's own: what that loads and says is none of our business.
        browser.open("about:blank");
        browser.requests();
        browser.console();
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).expect("the page");
    }

    /// Runs a line of the page's own script.
    pub(crate) fn run(&self, script: &str) {
        self.post("/execute/sync", &json!({ "script": script, "args": [] })).expect("the script runs");
    }

    /// Clicks on the first such element, as soon as it can be clicked.
    pub(crate) fn click(&self, selector: &str) {
        self.with_element(selector, |element| self.post(&format!("{element}/click"), &json!({})));
    }

    /// Writes this into a field instead of what it holds.
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        self.with_element(selector, |element| {
            self.post(&format!("{element}/clear"), &json!({}))?;
            self.post(&format!("{element}/value"), &json!({ "text": text }))
        });
    }

    /// The text that an element shows, as soon as it shows any.
    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self.with_element(selector, |element| {
            let answer = self.http.get(&format!("{}{element}/text", self.session));
            answer.json["value"].as_str().filter(|text| !text.is_empty()).map(|_| answer.json["value"].clone())
        });
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The address of every request since the last call, whatever became of it.
    pub(crate) fn requests(&self) -> Vec<String> {
        let events = self.log("performance").into_iter().filter_map(|event| serde_json::from_str::<Value>(&event).ok());
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["message"]["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// The lines of the console since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        self.log("browser")
    }

    /// Keeps a picture of the window, for somebody to look at, in the directory `PBX_TEST_SCREENSHOTS`, where it is set.
    pub(crate) fn save_screenshot(&self, name: &str) {
        let Ok(directory) = env::var("PBX_TEST_SCREENSHOTS") else { return };
        // Nothing moves any more.
        thread::sleep(Duration::from_millis(500));
        let picture = self.http.get(&format!("{}/screenshot", self.session)).expect(200).string("/value");
        let file = File::create(Path::new(&directory).join(format!("{name}.png"))).expect("the picture's file");
        let base64 = Command::new("base64").arg("--decode").stdin(Stdio::piped()).stdout(file).spawn();
        let mut base64 = base64.expect("base64");
        base64.stdin.take().expect("its input").write_all(picture.as_bytes()).expect("the picture");
        assert!(base64.wait().expect("base64").success());
    }

    fn log(&self, kind: &str) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": kind })).expect("the log");
        let entries = entries.as_array().expect("entries").iter();
        entries.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Tries until the element is there and the action succeeds: the page makes its elements as it goes.
    fn with_element(&self, selector: &str, act: impl Fn(&str) -> Option<Value>) -> Value {
        let find = json!({ "using": "css selector", "value": selector });
        let done = within_limit(|| {
            let found = self.post("/element", &find)?;
            act(&format!("/element/{}", found[ELEMENT].as_str()?))
        });
        done.unwrap_or_else(|| {
            self.save_screenshot("failed");
            panic!("waited for {selector}; the console says {:?}", self.console())
        })
    }

    /// The answer's value, if it is a success.
    fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let answer = self.http.post(&format!("{}{path}", self.session), body);
        (answer.status == 200).then(|| answer.json["value"].clone())
    }

    fn data(&self) -> std::path::PathBuf {
        self.directory.path().join("data")
    }

    /// The processes of the browser, which the driver starts in a group of their own: they name our directory.
    fn processes(&self) -> Vec<Pid> {
        let data = self.data().into_os_string().into_encoded_bytes();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = all.filter(|process| {
            fs::read(process.path().join("cmdline")).is_ok_and(|line| line.windows(data.len()).any(|part| part == data))
        });
        ours.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !thread::panicking() {
            self.http.delete(&self.session);
        }
        // A process that is gone already needs no end.
        let _gone = kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ended = self.driver.wait();
        for process in self.processes() {
            let _gone = kill_process(process, Signal::KILL);
        }
        let ended = within_limit(|| self.processes().is_empty().then_some(()));
        assert!(ended.is_some() || thread::panicking(), "the browser runs on: {:?}", self.processes());
    }
}
