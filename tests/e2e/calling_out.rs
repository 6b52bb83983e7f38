//! "Calling out" of `docs/operations.md`, as printed, with a second Asterisk as the provider.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test writes configuration, and fails at once"
)]

use std::fs;
use std::time::Duration;

use pbx_tests::{Asterisk, Database, Phone, Portal, until};

use crate::e2e::portal;

const PAGE: &str = include_str!("../../docs/operations.md");

const PROVIDERS_PJSIP: &str = "
[4930555]
type=endpoint
context=public
allow=ulaw,alaw
auth=4930555
aors=4930555
direct_media=no
[4930555]
type=auth
auth_type=digest
username=4930555
password=the-provider-gave-it
[4930555]
type=aor
max_contacts=1
";

/// The provider takes every number, and prints which.
const PROVIDERS_DIALPLAN: &str = "
[public]
exten => _X.,1,Log(NOTICE,dialled ${EXTEN} by ${CALLERID(num)})
 same => n,Answer()
 same => n,Wait(60)
exten => _049999.,1,Hangup(17)
";

const PROVIDER: &str = "127.0.0.2";

struct World {
    pbx: Asterisk,
    provider: Asterisk,
    portal: Portal,
    _database: Database,
}

/// The blocks of configuration under the heading: those of `pjsip.conf` and `extensions.conf`.
fn printed() -> [String; 2] {
    let (_, section) = PAGE.split_once("\n## Calling out\n").expect("the heading");
    let (section, _) = section.split_once("\n## ").expect("the next heading");
    let blocks = section.split("\n```ini\n").skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned());
    blocks.collect::<Vec<_>>().try_into().expect("two blocks")
}

impl World {
    fn new() -> Self {
        let mut provider = Asterisk::configured();
        let file = provider.etc().join("pjsip.conf");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace("bind=127.0.0.1", "bind=127.0.0.2")).unwrap();
        provider.append("pjsip.conf", PROVIDERS_PJSIP);
        provider.append("extensions.conf", PROVIDERS_DIALPLAN);
        provider.append("modules.conf", "load=app_verbose.so\nload=func_callerid.so\nload=res_clioriginate.so");
        provider.start();

        let mut pbx = Asterisk::configured();
        let [pjsip, dialplan] = printed();
        let address = format!("{PROVIDER}:{}", provider.port());
        let pjsip = pjsip.replace("match=sip.provider.example", &format!("match={PROVIDER}"));
        let pjsip = pjsip.replace("sip.provider.example", &address);
        // Above the line that includes the generated file.
        let file = pbx.etc().join("pjsip.conf");
        let text = fs::read_to_string(&file).unwrap();
        let (above, include) = text.split_once("#include").unwrap();
        fs::write(&file, format!("{above}{pjsip}\n#include{include}")).unwrap();
        pbx.append("extensions.conf", &dialplan);
        let modules =
            ["func_groupcount", "res_pjsip_endpoint_identifier_ip", "res_pjsip_outbound_authenticator_digest"];
        for module in modules.into_iter().chain(["res_pjsip_outbound_registration"]) {
            assert!(PAGE.contains(&format!("`{module}`")), "the page does not name {module}");
            pbx.append("modules.conf", &format!("load={module}.so"));
        }
        pbx.start();
        let database = Database::create();
        let portal = portal(&database, &pbx);
        Self { pbx, provider, portal, _database: database }
    }

    /// Phones of new users, from 1000 on.
    fn phones<const N: usize>(&self) -> [Phone; N] {
        let users: [_; N] = std::array::from_fn(|at| self.portal.create_user("User", &format!("user{at}@example.com")));
        self.portal.http().post_empty("/apply").expect(200);
        users.map(|user| Phone::of(&self.pbx, &user))
    }

    /// The numbers that were dialled at the provider, each with its caller.
    fn dialled(&self) -> Vec<String> {
        let log = self.provider.log();
        log.lines().filter_map(|line| line.split_once("dialled ")).map(|(_, rest)| rest.to_owned()).collect()
    }
}

#[test]
fn phones_call_out_within_the_limit_and_an_emergency_call_always_gets_through() {
    let world = World::new();
    let [alice, bob, carol] = world.phones();
    assert_eq!(alice.call("004930123"), 200);
    assert_eq!(world.dialled(), ["004930123 by 4930555"]);
    assert_eq!(alice.call("049999123"), 486, "busy outside is busy here");
    assert_eq!(alice.call("1001"), 480, "calls between users stay here");

    let talk = Duration::from_mins(1);
    let mut calls = [alice.start_call("0301", talk), bob.start_call("0302", talk)];
    assert!(calls.iter_mut().all(|call| call.answered() == 200));
    assert_eq!(carol.call("0303"), 503, "a third call");
    for (phone, number) in [(&alice, "112"), (&bob, "911"), (&carol, "0112"), (&carol, "0911")] {
        assert_eq!(phone.call(number), 200, "{number}");
    }
    let emergencies: Vec<_> = world.dialled().into_iter().filter(|line| line.starts_with(['1', '9'])).collect();
    assert_eq!(emergencies, ["112", "911", "112", "911"].map(|number| format!("{number} by 4930555")));
    world.pbx.rx("channel request hangup all");
    until("the calls to end", || world.pbx.rx("core show channels count").contains("0 active calls").then_some(()));
    assert_eq!(carol.call("0303"), 200);

    // Only digits leave, whatever a phone puts between them.
    assert_eq!(carol.call("0304%26PJSIP%2f1000"), 200);
    assert_eq!(world.dialled().last().unwrap(), "03041000 by 4930555");
}

#[test]
fn the_provider_reaches_the_users_and_through_them_nobody_else() {
    let world = World::new();
    let [alice, bob] = world.phones();
    let (at_alice, at_bob) = (alice.answering(), bob.answering());
    until("the provider to know where the main number is", || {
        world.provider.rx("pjsip show contacts").contains("4930555/sip:4930555@").then_some(())
    });
    world.provider.rx("channel originate PJSIP/4930555 application Wait 1");
    at_alice.wait_for_caller();
    world.provider.rx("channel originate PJSIP/1001@4930555 application Wait 1");
    at_bob.wait_for_caller();

    // As the provider itself: it is known by its address.
    let trunk = Phone::new(&world.pbx, "4930555", "none").at(PROVIDER);
    for number in [
        "0491",
        "112",
        "911",
        "00491234",
        "s",
        "outside",
        "0%2649",
        "0&49",
        "1000&0491",
        "1000%260491",
        "1000%2526PJSIP%252f0491%2540provider",
        "1000%26PJSIP%2f0491%40provider",
        "%30491",
        "1000,0491",
        "1000%2c30%2cG(outside)",
    ] {
        assert_eq!(trunk.call(number), 404, "{number}");
    }
    assert_eq!(world.dialled(), Vec::<String>::new());
    assert_eq!((at_alice.callers().len(), at_bob.callers().len()), (1, 1));
}
