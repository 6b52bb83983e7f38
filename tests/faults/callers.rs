//! What a caller from outside sends is printed in Asterisk's listings while the call lasts, line breaks included.

use std::fs;
use std::process::{Child, Command, Stdio};

use pbx_tests::{Asterisk, Behaviour, Database, until};

use crate::matrix;
use crate::world::{World, create};

/// Where the trunk's calls come from.
const OUTSIDE: &str = "127.0.0.2";

const TRUNK: &str = "[outside]\ntype=endpoint\ncontext=from-outside\ndisallow=all\nallow=ulaw\n\
    [outside]\ntype=identify\nendpoint=outside\nmatch=127.0.0.2";

/// An INVITE to the bystander, and a long talk.
const CALL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<scenario name="hostile">
<send retrans="500"><![CDATA[
INVITE sip:1000@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: "x" <sip:@CALLER@@[local_ip]>;tag=[call_number]
To: <sip:1000@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:x@[local_ip]:[local_port]>
Max-Forwards: 70
Content-Type: application/sdp
Content-Length: [len]

v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 30000 RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true"/>
<send><![CDATA[
ACK sip:1000@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]
From: "x" <sip:@CALLER@@[local_ip]>;tag=[call_number]
To: <sip:1000@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause milliseconds="300000"/>
</scenario>
"#;

/// A call that lives until the value goes.
struct HostileCall<'a> {
    sipp: Child,
    asterisk: &'a Asterisk,
}

impl<'a> HostileCall<'a> {
    fn start(asterisk: &'a Asterisk, caller: &str) -> Self {
        let scenario = asterisk.home().join("hostile.xml");
        fs::write(&scenario, CALL.replace("@CALLER@", caller)).unwrap();
        let mut sipp = Command::new("sipp");
        sipp.arg("-sf").arg(&scenario).args(["-i", OUTSIDE, "-p", &asterisk.port().to_string(), "-m", "1", "-nostdin"]);
        sipp.arg(format!("127.0.0.1:{}", asterisk.port())).current_dir(asterisk.home());
        sipp.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { sipp: sipp.spawn().unwrap(), asterisk }
    }
}

impl Drop for HostileCall<'_> {
    fn drop(&mut self) {
        drop(self.sipp.kill());
        drop(self.sipp.wait());
        self.asterisk.rx("channel request hangup all");
        until("the call to end", || {
            self.asterisk.rx("core show channels count").contains("0 active channels").then_some(())
        });
    }
}

#[test]
fn what_a_caller_sends_neither_spoils_nor_makes_a_proof() {
    let mut asterisk = Asterisk::configured();
    asterisk.append("modules.conf", "load=res_pjsip_endpoint_identifier_ip.so");
    asterisk.append("pjsip.conf", TRUNK);
    asterisk.append("extensions.conf", "[from-outside]\ninclude => synergycall-internal");
    asterisk.start();
    let world = World::with(Database::create(), asterisk, |settings| settings);
    for (round, (caller, shown)) in [
        ("%0a%20Endpoint%3a%20%201000/x", "\n Endpoint:  1000/x>"),
        ("%0aObjects%20found%3a%2099", "\nObjects found: 99>"),
        ("1%0a%20%20%20%20%20InAuth%3a%20%20x/y", "1\n     InAuth:  x/y>"),
        (
            "%0a%0a%20Endpoint%3a%20%201500/1500%0a%20%20%20%20%20%20%20%20Aor%3a%20%201500",
            "\n\n Endpoint:  1500/1500\n",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let callee = world.bystander.answering();
        let call = HostileCall::start(&world.asterisk, caller);
        until("the caller's text in the listing", || {
            world.asterisk.rx("pjsip show endpoints").contains(&format!("CLCID: \"x\" <{shown}")).then_some(())
        });
        let http = world.portal.http();
        let applied = http.post_empty("/apply");
        let unchanged = http.post_empty("/apply");
        let plan = http.post_empty("/apply?dry_run=true").expect(200);
        drop(call);
        drop(callee);
        world.check(matrix::HOSTILE_CALLER, &applied);
        assert_eq!(unchanged.expect(200).json["outcome"], "unchanged", "{shown}");
        assert_eq!(plan.json["live"]["matches"], true, "{shown}: {}", plan.text);
        create(&world.portal, &format!("round{round}"));
    }
    world.recovers();
}

#[test]
fn lines_that_asterisk_drops_for_a_stalled_reader_are_asked_for_again() {
    for world in crate::world::BOTH_WAYS {
        let world = world();
        // Pipe and socket hold some thousand lines before any is dropped.
        world.database.sql(
            "WITH u AS (INSERT INTO users (id, name, email) SELECT gen_random_uuid(), 'Bulk', 'bulk' || n || '@example.com'
             FROM generate_series(1, 880) n RETURNING id)
             INSERT INTO extensions (number, user_id, realm, ha1)
             SELECT 1100 + row_number() OVER (), id, 'asterisk', md5(id::text) FROM u",
        );
        world.stand_in.on_next(2, "dialplan show synergycall-users", &Behaviour::Stall);
        world.apply(matrix::STALLED_READER);
        let log = world.portal.log();
        assert!(log.contains("was not whole: `dialplan show synergycall-"), "nothing was dropped: {log}");
        world.stand_in.on_next(2, "dialplan show synergycall-users", &Behaviour::Stall);
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}
