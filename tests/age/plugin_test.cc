// Plugins that keep to the protocol, and plugins that do not: each is a script that the test writes.
#include "age/plugin.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "age/bech32.h"
#include "age/file.h"
#include "age/key_file.h"
#include "age/plugin_name.h"
#include "tests/age/testing.h"

namespace cryptvol::age {
namespace {

using testing::Fails;
using testing::IsOk;
using testing::kInvalid;
using testing::kUnauthenticated;
using testing::List;
using testing::Must;
using testing::Secret;
using testing::Shell;
using testing::Succeeded;
using testing::TextSink;
using testing::TextSource;
using testing::WriteFile;

constexpr auto kInternal = absl::StatusCode::kInternal;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;
constexpr auto kDeadline = absl::StatusCode::kDeadlineExceeded;

// What each script begins with: stanzas to and fro. `mode` is the state machine, `first` what came
// in its first phase.
constexpr std::string_view kLibrary = R"py(#!/usr/bin/python3
import base64, os, sys, time
def read():
    head = sys.stdin.readline().split()
    if not head: sys.exit(3)
    body = ''
    while True:
        line = sys.stdin.readline().rstrip('\n')
        body += line
        if len(line) < 64: break
    return head[1:], base64.b64decode(body + '=' * (-len(body) % 4))
def send(*words, body=b''):
    text = base64.b64encode(body).decode().rstrip('=')
    lines = [text[i:i + 64] for i in range(0, len(text) + 1, 64)]
    sys.stdout.write('-> ' + ' '.join(words) + '\n' + '\n'.join(lines) + '\n')
    sys.stdout.flush()
def ask(*words, body=b''):
    send(*words, body=body)
    return read()
mode = sys.argv[1].split('=')[1]
first = []
while True:
    head, body = read()
    if head == ['done']: break
    first.append((head, body))
def said(word): return [(head[1:], body) for head, body in first if head[0] == word]
)py";

// Wraps by adding one to every byte: a plugin for tests only.
constexpr std::string_view kGood = R"py(
if mode == 'recipient-v1':
    key = said('wrap-file-key')[0][1]
    for args, _ in said('add-recipient'):
        assert ask('recipient-stanza', '0', 'test', args[0][-6:],
                   body=bytes((b + 1) % 256 for b in key))[0] == ['ok']
else:
    for args, body in said('recipient-stanza'):
        assert args[0] == '0'
        if args[1] == 'test' and len(body) == 16:
            assert ask('file-key', '0', body=bytes((b - 1) % 256 for b in body))[0] == ['ok']
            break
send('done')
)py";

std::string RecipientText(const std::string& name) {
  return EncodeBech32("age1" + name, AsBytes("somebody"));
}
std::string IdentityText(const std::string& name) {
  return EncodeBech32("AGE-PLUGIN-" + name + "-", AsBytes("somebody"));
}

// Remembers what it was asked, and gives fixed answers or none.
class FakeUi : public PluginUi {
 public:
  absl::Status ShowMessage(const std::string& plugin, const std::string& text) override {
    asked.push_back(plugin + " says " + text);
    return answer();
  }
  absl::StatusOr<bool> Confirm(const std::string&, const std::string& text, const std::string& yes,
                               const std::optional<std::string>& no) override {
    asked.push_back(text + " " + yes + "/" + no.value_or("-"));
    CV_RETURN_IF_ERROR(answer());
    return no.has_value();
  }
  absl::StatusOr<std::string> RequestPublic(const std::string&, const std::string& text) override {
    asked.push_back(text);
    CV_RETURN_IF_ERROR(answer());
    return "somebody";
  }
  absl::StatusOr<SecretBytes> RequestSecret(const std::string&, const std::string& text) override {
    asked.push_back(text);
    CV_RETURN_IF_ERROR(answer());
    std::this_thread::sleep_for(delay);
    return SecretBytes::CopyOf("1234");
  }
  absl::Status answer() const {
    return refuse ? absl::Status(absl::StatusCode::kUnavailable, "nobody there") : absl::OkStatus();
  }

  std::vector<std::string> asked;
  bool refuse = false;
  std::chrono::milliseconds delay{0};
};

class Plugin : public ::testing::Test {
 protected:
  // Makes age-plugin-test of the library and `script`.
  void Install(std::string_view script) {
    InstallWhole(std::string(kLibrary) + std::string(script));
  }
  void InstallWhole(const std::string& content, const std::string& name = "test") {
    const std::string path = directory_ / ("age-plugin-" + name);
    WriteFile(path, content);
    ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  }

  PluginOptions Options() {
    PluginOptions options{.search_path = directory_.path() + ":/usr/bin:/bin", .ui = &ui_};
    options.timeout = timeout_;
    return options;
  }

  absl::StatusOr<WrappedKey> Wrap() {
    return Must(PluginRecipient::Parse(RecipientText("test"), Options()))->Wrap(file_key_);
  }
  absl::StatusOr<std::optional<SecretBytes>> Unwrap() {
    const std::vector<Stanza> stanzas = {{"test", {"x"}, std::vector<uint8_t>(16, 7)}};
    return Must(PluginIdentity::Parse(IdentityText("TEST"), Options()))->Unwrap(stanzas);
  }

  testing::ScratchDirectory directory_;
  FakeUi ui_;
  std::chrono::milliseconds timeout_ = std::chrono::seconds(20);
  const SecretBytes file_key_ = Must(NewFileKey());
};

// A whole file, encrypted and decrypted with the plugin alone.
TEST_F(Plugin, WrapsAndUnwraps) {
  Install(kGood);
  TextSource plain("hello");
  TextSink sealed;
  ASSERT_THAT(
      EncryptToRecipients(plain, Must(ParseRecipientsFile(RecipientText("test"), Options())),
                          {.header = {.pad = true}}, sealed),
      IsOk());
  TextSource source(sealed.text);
  TextSink opened;
  ASSERT_THAT(
      DecryptFile(source, Must(ParseIdentitiesFile(IdentityText("TEST"), Options())), opened),
      IsOk());
  EXPECT_EQ(opened.text, "hello");
}

// Debian's age takes the same plugin and opens what we made with it.
TEST_F(Plugin, WorksWithDebiansAge) {
  Install(kGood);
  TextSource plain("hello");
  TextSink sealed;
  ASSERT_THAT(
      EncryptToRecipients(plain, Must(ParseRecipientsFile(RecipientText("test"), Options())),
                          {.header = {.pad = true}}, sealed),
      IsOk());
  WriteFile(directory_ / "file.age", sealed.text);
  WriteFile(directory_ / "key.txt", IdentityText("TEST") + "\n");
  const CommandResult result = Shell(fmt::format("PATH={}:$PATH age -d -i {} {}", directory_.path(),
                                                 directory_ / "key.txt", directory_ / "file.age"));
  EXPECT_THAT(result, Succeeded());
  EXPECT_EQ(result.out, "hello");
}

// A file for others is no match, not an error; a wrong key shows in the header.
TEST_F(Plugin, TellsThatNothingMatched) {
  Install("send('done')");
  EXPECT_EQ(Must(Unwrap()), std::nullopt);
  Install("ask('file-key', '0', body=b'x' * 16)\nsend('done')");
  const auto a = Must(X25519Identity::Generate());
  TextSource source(
      Must(MakeHeader(file_key_, List<Recipient>(std::make_unique<X25519Recipient>(a->recipient())),
                      {})) +
      std::string(16, 'n'));
  EXPECT_THAT(OpenFile(source, Must(ParseIdentitiesFile(IdentityText("TEST"), Options()))),
              Fails(testing::kDataLoss, "bad header MAC"));
}

// Labels come back, and keep a plugin's recipient from standing beside a weaker one.
TEST_F(Plugin, LabelsAreAskedForAndKept) {
  Install(
      "assert said('extension-labels')\n"
      "ask('labels', 'postquantum', 'other')\n"
      "ask('recipient-stanza', '0', 'test', body=b'x' * 16)\n"
      "send('done')");
  EXPECT_EQ(Must(Wrap()).labels, (std::set<std::string>{"postquantum", "other"}));
  const auto a = Must(X25519Identity::Generate());
  const auto mixed = List<Recipient>(Must(PluginRecipient::Parse(RecipientText("test"), Options())),
                                     std::make_unique<X25519Recipient>(a->recipient()));
  EXPECT_THAT(MakeHeader(file_key_, mixed, {}), Fails(kInvalid, "cannot be mixed"));
  Install("ask('labels', 'a')\nask('labels', 'a')\nsend('done')");
  EXPECT_THAT(Wrap(), Fails(kInternal, "malformed labels message"));
}

// Every kind of question reaches the user and every answer the plugin; texts lose their control
// characters on the way.
TEST_F(Plugin, AsksTheUser) {
  Install(
      "assert ask('msg', body=b'touch \\x1b[2J me')[0] == ['ok']\n"
      "assert ask('confirm', 'eWVz', 'bm8', body=b'sure?')[0] == ['ok', 'yes']\n"
      "assert ask('confirm', 'eWVz', body=b'sure?')[0] == ['ok', 'no']\n"
      "assert ask('request-public', body=b'who?') == (['ok'], b'somebody')\n"
      "assert ask('request-secret', body=b'PIN?') == (['ok'], b'1234')\n"
      "assert ask('grease-xyz', 'y', body=b'x' * 100)[0] == ['unsupported']\n"
      "ask('file-key', '0', body=b'k' * 16)\n"
      "send('done')");
  EXPECT_EQ(testing::Text(*Must(Unwrap())), std::string(16, 'k'));
  EXPECT_THAT(ui_.asked, ::testing::ElementsAre("test says touch  [2J me", "sure? yes/no",
                                                "sure? yes/-", "who?", "PIN?"));
}

// Without anybody to ask, or when they refuse, the plugin is told so and decides.
TEST_F(Plugin, RefusalsAreAnswers) {
  const std::string script =
      "for kind in [['msg'], ['confirm', 'eWVz'], ['request-public'], ['request-secret']]:\n"
      "    assert ask(*kind, body=b'x')[0] == ['fail'], kind\n"
      "send('done')";
  Install(script);
  ui_.refuse = true;
  EXPECT_THAT(Unwrap(), IsOk());
  EXPECT_EQ(ui_.asked.size(), size_t{4});
  PluginOptions without = Options();
  without.ui = nullptr;
  EXPECT_THAT(Must(PluginIdentity::Parse(IdentityText("TEST"), without))->Unwrap({}), IsOk());
}

// The time that a person takes is not the plugin's.
TEST_F(Plugin, TheDeadlineWaitsForTheUser) {
  Install("ask('request-secret', body=b'PIN?')\nsend('done')");
  timeout_ = std::chrono::milliseconds(2000);
  ui_.delay = std::chrono::milliseconds(2500);
  EXPECT_THAT(Unwrap(), IsOk());
}

// What whoever started the test left open for every child, beside the standard streams.
std::set<int> LeftOpen() {
  std::set<int> open;
  for (int fd = 3; fd < 1024; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) open.insert(fd);
  }
  return open;
}

// Nothing of our environment, where credentials live, reaches a plugin, and no other file of ours.
TEST_F(Plugin, GetsACleanEnvironment) {
  std::string left_open;
  for (const int fd : LeftOpen()) left_open += fmt::format(" {}", fd);
  ::setenv("CRYPTVOL_TEST_CREDENTIAL", "leak", 1);
  Install(
      "import stat\n"
      "extra = sorted(set(os.environ) - {'LC_CTYPE'})\n"
      "ask('request-public', body=(' '.join(extra) + ' ' + os.environ['PATH']).encode())\n"
      "fds = {int(fd) for fd in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + fd)}\n"
      "ask('request-public', body=' '.join(str(fd) for fd in sorted(fds)).encode())\n"
      "send('done')");
  PluginOptions options = Options();
  options.home = "/home/somebody";
  options.search_path = "relative:.::" + options.search_path;
  ASSERT_THAT(Must(PluginIdentity::Parse(IdentityText("TEST"), options))->Unwrap({}), IsOk());
  ::unsetenv("CRYPTVOL_TEST_CREDENTIAL");
  EXPECT_THAT(ui_.asked, ::testing::ElementsAre("HOME LC_ALL PATH " + Options().search_path,
                                                "0 1 2" + left_open));
}

// What a plugin reports is passed on, and one that calls a stanza malformed ends the search.
TEST_F(Plugin, PassesOnErrors) {
  Install("ask('error', 'internal', body=b'no card')");
  EXPECT_THAT(Wrap(), Fails(kPrecondition, "age-plugin-test reports: no card"));
  EXPECT_THAT(Unwrap(), Fails(kPrecondition, "age-plugin-test reports: no card"));
  Install("ask('error', 'stanza', '0', '0', body=b'bad share')");
  EXPECT_THAT(Unwrap(), Fails(kInvalid, "reports: bad share"));
}

// One that ends early says why on standard error.
TEST_F(Plugin, EndsEarly) {
  Install("sys.stderr.write('cannot find the card\\n')\nsys.exit(1)");
  EXPECT_THAT(Wrap(), Fails(kPrecondition, "(exit status 1: cannot find the card)"));
  InstallWhole("#!/bin/sh\nexit 7\n");
  EXPECT_THAT(Unwrap(), Fails(kPrecondition, "exit status 7"));
  InstallWhole("#!/bin/sh\nkill -9 $$\n");
  EXPECT_THAT(Unwrap(), Fails(kPrecondition, "signal 9"));
  Install("sys.stdout.write('-> file-key 0\\nAAAA')");
  EXPECT_THAT(Unwrap(), Fails(kPrecondition, "ended before its work was done"));
}

// One that hangs is killed, and its children with it.
TEST_F(Plugin, IsKilledAtTheDeadline) {
  const std::string pid_file = directory_ / "pid";
  InstallWhole(fmt::format("#!/bin/sh\nsleep 600 &\necho $! > {}\nwait\n", pid_file));
  timeout_ = std::chrono::milliseconds(1500);
  EXPECT_THAT(Wrap(), Fails(kDeadline, "did not answer in time"));
  const std::string pid = testing::ReadFile(pid_file);
  ASSERT_NE(pid, "");
  // Whoever reaps it may take a moment: a zombie is dead.
  const std::string state =
      Shell("cut -d ' ' -f 3 /proc/" + pid.substr(0, pid.find('\n')) + "/stat").out;
  EXPECT_THAT(state, ::testing::AnyOf("", "Z\n", "X\n"));
}

// One that talks without end, in one message or in many, is cut short.
TEST_F(Plugin, IsBounded) {
  Install("while True: sys.stdout.write('A' * 64 + '\\n')");
  EXPECT_THAT(Unwrap(), Fails(kInternal, ""));
  Install("sys.stdout.write('-> msg\\n')\nwhile True: sys.stdout.write('A' * 64 + '\\n')");
  EXPECT_THAT(Unwrap(), Fails(kInternal, "says more than 2097152 bytes"));
  Install("while True: sys.stdout.write('A' * 1000)");
  EXPECT_THAT(Wrap(), Fails(kInternal, "says more than 2097152 bytes"));
  Install("while True: ask('msg')");
  EXPECT_THAT(Unwrap(), Fails(kInternal, "says more than 1024 things"));
  EXPECT_LE(ui_.asked.size(), size_t{1024});
}

// One that fills its own output before it reads ours does not stop us both.
TEST_F(Plugin, DoesNotDeadlock) {
  InstallWhole("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' A\nhead -c 1000000 > /dev/null\n");
  const std::vector<Stanza> stanzas(20, {"x", {}, std::vector<uint8_t>(50000)});
  EXPECT_THAT(Must(PluginIdentity::Parse(IdentityText("TEST"), Options()))->Unwrap(stanzas),
              Fails(kPrecondition, "ended before its work was done"));
}

// Messages of the wrong form are no keys.
TEST_F(Plugin, RefusesMalformedMessages) {
  const std::vector<std::pair<std::string, std::string>> unwrap = {
      {"print('hello', flush=True)", "begin with"},
      {"print('-> file-key 0\\nAA==\\n', flush=True)", "base64"},
      {"print('-> file-key\\t0\\n', flush=True)", "not printable"},
      {"ask('file-key', '0', body=b'short')", "malformed file-key"},
      {"ask('file-key', '1', body=b'k' * 16)", "malformed file-key"},
      {"ask('file-key', '0', '0', body=b'k' * 16)", "malformed file-key"},
      {"ask('file-key', body=b'k' * 16)", "malformed file-key"},
      {"ask('file-key', '0', body=b'k' * 16)\nask('file-key', '0', body=b'k' * 16)",
       "malformed file-key"},
      {"ask('confirm', body=b'x')", "malformed confirm"},
      {"ask('confirm', '*', body=b'x')", "malformed confirm"}};
  for (const auto& [script, words] : unwrap) {
    Install(script + "\nsend('done')");
    EXPECT_THAT(Unwrap(), Fails(kInternal, words)) << script;
  }
  const std::vector<std::pair<std::string, std::string>> wrap = {
      {"pass", "gave no stanza"},
      {"ask('recipient-stanza', '0', body=b'x')", "malformed recipient-stanza"},
      {"ask('recipient-stanza', '1', 'test', body=b'x')", "malformed recipient-stanza"}};
  for (const auto& [script, words] : wrap) {
    Install(script + "\nsend('done')");
    EXPECT_THAT(Wrap(), Fails(kInternal, words)) << script;
  }
}

// A stanza of a native type from a plugin is held to that type's form.
TEST_F(Plugin, CannotSlipInAMalformedStanza) {
  Install("ask('recipient-stanza', '0', 'X25519', 'AAAA', body=b'x' * 32)\nsend('done')");
  const auto recipients = Must(ParseRecipientsFile(RecipientText("test"), Options()));
  EXPECT_THAT(MakeHeader(file_key_, recipients, {}), Fails(kInvalid, "X25519"));
}

// Only a plain name becomes part of a path, and only in a directory with an absolute path.
TEST_F(Plugin, NamesAreChecked) {
  EXPECT_EQ(Must(PluginOfRecipient(RecipientText("a+b.c_d-1"))), "a+b.c_d-1");
  EXPECT_EQ(Must(PluginOfIdentity(IdentityText("A+B.C_D-1"))), "a+b.c_d-1");
  for (const std::string name : {"../../tmp/evil", "a/b", "~", "a=b", "", "a b"}) {
    EXPECT_THAT(PluginOfRecipient(RecipientText(name)), Fails(kInvalid, "")) << name;
    EXPECT_THAT(PluginOfIdentity(IdentityText(name)), Fails(kInvalid, "")) << name;
  }
  EXPECT_THAT(PluginOfRecipient(RecipientText(std::string(65, 'x'))), Fails(kInvalid, "1 to 64"));
  EXPECT_THAT(PluginOfRecipient(IdentityText("TEST")), Fails(kInvalid, ""));
  EXPECT_THAT(PluginOfIdentity(RecipientText("test")), Fails(kInvalid, ""));
  EXPECT_THAT(PluginOfIdentity(EncodeBech32("age-plugin-test-", {})), Fails(kInvalid, ""));

  InstallWhole("#!/bin/sh\n");
  EXPECT_EQ(Must(FindPlugin("test", "/nowhere:" + directory_.path())),
            directory_ / "age-plugin-test");
  const std::string relative = std::filesystem::relative(directory_.path()).string();
  EXPECT_THAT(FindPlugin("test", relative + "::."), Fails(kPrecondition, "is not installed"));
  std::filesystem::create_directory(directory_ / "age-plugin-dir");
  EXPECT_THAT(FindPlugin("dir", directory_.path()), Fails(kPrecondition, "is not installed"));
  EXPECT_THAT(FindPlugin("../test", directory_.path()), Fails(kInvalid, ""));
}

// A plugin that is not there is named, with where it was looked for.
TEST_F(Plugin, MayBeAbsent) {
  EXPECT_THAT(Wrap(), Fails(kPrecondition,
                            "age-plugin-test is not installed (looked in " + directory_.path()));
}

}  // namespace
}  // namespace cryptvol::age
