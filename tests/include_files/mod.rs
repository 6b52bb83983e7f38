//! The reader of include files beside Asterisk's own: a deployment that is proven leaves nothing live that the reader
//! did not see, whatever the files say, and one that is not leaves what was.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that fails says so at once")]

mod mutations;

use std::cell::Cell;
use std::time::{Duration, Instant};

use pbx_asterisk::{Aftermath, Cli, Deployment, Expected, Failure, IncludeFiles, Pair};
use pbx_tests::{Asterisk, Behaviour, MisbehavingAsterisk};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use mutations::{ENDPOINTS, FORMER, ROUTING};

struct World {
    deployment: Deployment,
    stand_in: MisbehavingAsterisk,
    asterisk: Asterisk,
    /// Contexts, extensions and priorities of Asterisk's own modules.
    others: [usize; 3],
}

impl World {
    fn start() -> Self {
        let asterisk = Asterisk::start_new();
        let stand_in = MisbehavingAsterisk::before(&asterisk);
        let cli = Cli::new(&stand_in.command(), Duration::from_secs(10)).unwrap();
        let files = IncludeFiles { endpoints: asterisk.pjsip_include(), dialplan: asterisk.dialplan_include() };
        let deployment = Deployment::new(cli, files, asterisk.home().join("state"));
        let mut world = Self { deployment, stand_in, asterisk, others: [0; 3] };
        world.others = world.dialplan();
        world
    }

    fn deploy(&self, pair: &Pair) -> Result<(), Box<Failure>> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut locked = self.deployment.lock(deadline).unwrap();
        locked.deploy(pair, "test", deadline).map(drop)
    }

    /// The reloads since the last call of this.
    fn reloads(&self, seen: &Cell<usize>) -> Vec<String> {
        let commands = self.stand_in.commands();
        let new = &commands[seen.replace(commands.len())..];
        new.iter().filter_map(|command| command.strip_prefix("module reload ")).map(str::to_owned).collect()
    }

    /// How many endpoints there are.
    fn endpoints(&self) -> usize {
        let listed = self.asterisk.rx("pjsip show endpoints");
        listed.lines().filter(|line| line.starts_with(" Endpoint:  ") && !line.contains("<Endpoint/CID")).count()
    }

    /// How many contexts, extensions and priorities there are besides those of others.
    fn dialplan(&self) -> [usize; 3] {
        let listed = self.asterisk.rx("dialplan show");
        let footer = listed.lines().rfind(|line| line.starts_with("-= ")).unwrap();
        let numbers: Vec<usize> = footer.split([' ', '(']).filter_map(|word| word.parse().ok()).collect();
        let [extens, priorities, contexts] = numbers[..] else { panic!("{footer}") };
        [contexts - self.others[0], extens - self.others[1], priorities - self.others[2]]
    }
}

fn pair(endpoints: &str, dialplan: &str) -> Pair {
    Pair { endpoints: endpoints.into(), dialplan: dialplan.into() }
}

#[test]
fn a_proven_pair_is_all_that_is_live_and_another_leaves_the_former() {
    let world = World::start();
    let former = pair(FORMER[0], FORMER[1]);
    let (proven, rolled_back, refused) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |of: &Cell<u32>| of.set(of.get() + 1);
    let config =
        ProptestConfig { cases: 400, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&mutations::pair(), |(endpoints, dialplan)| {
        let pair = pair(&endpoints, &dialplan);
        let Ok(expected) = Expected::read(&pair) else {
            count(&refused);
            return Ok(());
        };
        world.deploy(&former).unwrap();
        match world.deploy(&pair) {
            Ok(()) => {
                prop_assert_eq!(world.endpoints(), expected.endpoints().count());
                let steps = expected.extensions().map(|(_, _, steps)| steps).sum();
                prop_assert_eq!(world.dialplan(), [expected.contexts().count(), expected.extensions().count(), steps]);
                count(&proven);
            }
            Err(failure) => {
                prop_assert_eq!(failure.aftermath, Aftermath::RolledBack);
                count(&rolled_back);
            }
        }
        Ok(())
    });
    match run {
        Ok(()) => {}
        Err(TestError::Fail(reason, (endpoints, dialplan))) => panic!("{reason}\n{endpoints}\n----\n{dialplan}"),
        Err(error) => panic!("{error}"),
    }
    let counts = [proven, rolled_back, refused].map(Cell::into_inner);
    assert!(counts.iter().all(|count| *count > 10), "proven, rolled back and refused: {counts:?}");
}

#[test]
fn what_asterisk_understands_is_understood_alike() {
    let world = World::start();
    for (endpoints, dialplan) in [
        (ENDPOINTS, ROUTING),
        ("", ""),
        // Two templates, of which each brings something; keys in any case; the last of a setting.
        (
            "[t](!)\ntype=endpoint\naors=a,b\n[u](!)\nauth=q\n[x](t,u)\nAORS=a\n[q]\ntype=auth\nusername=u\npassword=p\n[a]\ntype=aor\n",
            "",
        ),
        // `n` counts on from extension to extension.
        ("", "[c]\nexten => 1,1,NoOp()\nexten => 1,n,Hangup()\nexten => 2,n,NoOp()\n same => n(l),NoOp(x)\n"),
        // Semicolons, the one place where a backslash means something to the reader of files.
        ("", "[c]\nexten => 1,1,NoOp(a\\;b\\\\c) ; d\n same => n,Set(X=a\\\\;b\\,c)\n"),
        // By the caller's number.
        ("", "[c]\nexten => 1/2,1,NoOp()\n same => n,Hangup()\nexten => 1,1,NoOp(x)\n"),
        ("", &format!("[c]\nexten => 1,1,NoOp({})\n", "x".repeat(990))),
    ] {
        let deployed = world.deploy(&pair(endpoints, dialplan));
        deployed.unwrap_or_else(|failure| panic!("{failure}: {endpoints}{dialplan}"));
    }
}

#[test]
fn only_the_module_whose_file_changed_is_reloaded_there_and_back() {
    const PJSIP: &str = "res_pjsip.so";
    const DIALPLAN: &str = "pbx_config.so";
    const BOTH: &str = "res_pjsip.so pbx_config.so";
    let (world, seen) = (World::start(), Cell::new(0));
    let (one, other) = ("[a]\ntype=endpoint\n", "[b]\ntype=endpoint\n");
    let (here, there) = ("[c]\nexten => 1,1,NoOp()\n", "[c]\nexten => 2,1,NoOp()\n");
    for (endpoints, dialplan, reloads) in
        [(one, here, BOTH), (other, here, PJSIP), (other, there, DIALPLAN), (one, here, BOTH)]
    {
        world.deploy(&pair(endpoints, dialplan)).unwrap();
        assert_eq!(world.reloads(&seen), [reloads]);
    }
    // The rollback reloads what the apply did.
    for (new, module) in [(pair(other, here), PJSIP), (pair(one, there), DIALPLAN)] {
        world.stand_in.on_next(1, "module reload*", &Behaviour::Silence);
        let failure = world.deploy(&new).unwrap_err();
        assert_eq!((failure.aftermath, world.reloads(&seen)), (Aftermath::RolledBack, vec![module.to_owned(); 2]));
    }
    // Somebody took something from Asterisk that the unchanged file has: both are reloaded then, there or back.
    world.asterisk.rx("dialplan remove extension 1@c");
    world.deploy(&pair(other, here)).unwrap();
    assert_eq!(world.reloads(&seen), [PJSIP, BOTH]);
    world.asterisk.rx("dialplan remove extension 1@c");
    world.stand_in.on_next(4, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
    let failure = world.deploy(&pair(one, here)).unwrap_err();
    assert_eq!(
        (failure.aftermath, world.reloads(&seen)),
        (Aftermath::RolledBack, vec![PJSIP.to_owned(), BOTH.to_owned(), BOTH.to_owned()])
    );
    // Nothing is claimed of files that others changed.
    std::fs::File::create(world.asterisk.dialplan_include()).unwrap();
    world.deploy(&pair(one, here)).unwrap();
    assert_eq!(world.reloads(&seen), [BOTH]);
}
