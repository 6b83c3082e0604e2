package grant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// byRole is enough of target.Match for these tests: all, tags role, names, and nothing else.
func byRole(t schema.Targets, n schema.Node) bool {
	if t.Exclude != nil && byRole(schema.Targets{Selection: *t.Exclude}, n) {
		return false
	}
	return t.All || len(t.Tags["role"]) > 0 && slices.Contains(t.Tags["role"], n.Tags["role"]) || slices.Contains(t.Nodes, n.Name)
}

func role(names ...string) schema.Targets {
	return schema.Targets{Selection: schema.Selection{Tags: map[string]schema.Texts{"role": names}}}
}

func node(name, role string) schema.Node {
	return schema.Node{ID: "id-" + name, Name: name, Tags: map[string]string{"role": role}}
}

// nodesOf makes n nodes of a role.
func nodesOf(role string, n int) []schema.Node {
	var out []schema.Node
	for i := range n {
		out = append(out, node(role+"-"+string(rune('a'+i)), role))
	}
	return out
}

// acme is a fleet where alice may restart web services, bob run anything on the databases, and carol is root and policy alone.
func acme() schema.Repo {
	all := []string{"root", "policy"}
	return schema.Repo{
		Fleet: schema.Fleet{Name: "acme", Signers: map[string]schema.Signer{"alice": {Roles: []string{"policy"}}, "bob": {Roles: []string{"policy"}}, "carol": {Roles: all}, "dave": {Roles: all}}},
		Documents: map[string]schema.Document{
			"restart": {Parameters: map[string]schema.DocumentParameter{
				"Service": {Type: schema.TypeString},
				"Mode":    {Type: schema.TypeString, Default: `"reload"`},
				"Tags":    {Type: schema.TypeStringList, Default: `["a","b"]`},
				"Map":     {Type: schema.TypeStringMap, Default: `{"a":"b"}`},
				"Times":   {Type: schema.TypeInteger, Default: `3`},
				"Secret":  {Type: schema.TypeString, Default: `"{{ssm:/x}}"`},
			}},
			"plain": {},
		},
		ShippedDocuments: map[string]schema.Document{
			"AWS-RunShellScript": {Parameters: map[string]schema.DocumentParameter{"commands": {Type: schema.TypeStringList}, "workingDirectory": {Type: schema.TypeString, Default: `""`}}},
		},
		Grants: map[string]schema.Grant{
			"web-restart": {Who: []string{"alice"}, Run: &schema.GrantRun{Documents: []string{"restart", "plain"}, Targets: role("web"), MaxConcurrency: "2", Parameters: map[string]string{"Service": "nginx|php[0-9.]*-fpm", "Mode": "reload"}}},
			"db-all":      {Who: []string{"bob", "alice"}, Run: &schema.GrantRun{Documents: []string{"AWS-RunShellScript"}, Targets: role("db"), MaxConcurrency: "50%"}},
			"db-shell":    {Who: []string{"alice"}, Sessions: []schema.SessionKind{"shell", "forward"}, Targets: targets(role("db")), RunAs: "postgres", Ports: []int{5432}, MaxDuration: "4h"},
			"web-exec":    {Who: []string{"alice", "dave"}, Sessions: []schema.SessionKind{"exec"}, Targets: targets(role("web")), RunAs: "deploy", MaxDuration: "1h"},
		},
	}
}

func targets(t schema.Targets) *schema.Targets { return &t }

func text(s ...string) schema.Argument { return schema.Argument{Texts: s} }

func TestRun(t *testing.T) {
	web, db := nodesOf("web", 4), nodesOf("db", 10)
	restart := func(service string, more ...string) schema.Arguments {
		a := schema.Arguments{"Service": text(service)}
		for i := 0; i < len(more); i += 2 {
			a[more[i]] = text(more[i+1])
		}
		return a
	}
	for _, tt := range []struct {
		name     string
		who      string
		document string
		params   schema.Arguments
		nodes    []schema.Node
		at       string // maxConcurrency
		want     string
	}{
		{"what one grant covers", "alice", "restart", restart("nginx"), web, "2", "allowed by grant web-restart"},
		{"a part of its nodes, fewer at once", "alice", "restart", restart("php8.2-fpm", "Mode", "reload"), web[:1], "1", "allowed by grant web-restart"},
		{"nobody", "mallory", "restart", restart("nginx"), web, "1", `not allowed: "mallory" is no signer of this fleet`},
		{"root and policy without a grant", "carol", "restart", restart("nginx"), web, "1", "not allowed: no grant lets carol run anything; roles alone give no right to it"},
		{"a grant of sessions alone", "dave", "restart", restart("nginx"), web, "1", "not allowed: no grant lets dave run anything; roles alone give no right to it"},
		{"another document", "bob", "restart", restart("nginx"), db, "1", "not allowed: grant db-all: it is for AWS-RunShellScript"},
		{"a document that is not there", "alice", "Restart", nil, web, "1", `not allowed: there is no document "Restart"`},
		{"no node", "alice", "restart", restart("nginx"), nil, "1", "not allowed: its targets mean no active node of the roster"},
		{"one node more than the grant has", "alice", "restart", restart("nginx"), append(web[:4:4], db[0]), "1", "not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: db-a is not among its nodes"},
		{"many nodes more", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, append(db[:1:1], web...), "1", "not allowed: grant db-all: web-a, web-b, web-c and 1 more are not among its nodes"},
		{"more at once", "alice", "restart", restart("nginx"), web, "3", "not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: at most 2 at once, and not 3"},
		{"more at once than there are nodes", "alice", "restart", restart("nginx"), web[:1], "50", "not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: at most 2 at once, and not 50"},
		{"a percentage that is as many", "alice", "restart", restart("nginx"), web, "50%", "allowed by grant web-restart"},
		{"a percentage that is more", "alice", "restart", restart("nginx"), web, "75%", "not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: at most 2 at once, and 75% of 4 is 3"},
		{"a count within a percentage", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db, "5", "allowed by grant db-all"},
		{"a count beyond a percentage", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db, "6", "not allowed: grant db-all: at most 50% at once, and 6 of 10 is 6"},
		{"a percentage beyond a percentage", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db[:1], "51%", "not allowed: grant db-all: at most 50% at once, and not 51%"},
		{"a percentage of one is one", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db[:1], "1", "allowed by grant db-all"},
		{"no number at once", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db, "", `not allowed: maxConcurrency "" is not a count such as "5" or a percentage such as "10%"`},
		{"nonsense at once", "bob", "AWS-RunShellScript", schema.Arguments{"commands": text("id")}, db, "0", `not allowed: maxConcurrency "0" is not a count such as "5" or a percentage such as "10%"`},
		{"a parameter that does not match", "alice", "restart", restart("sshd"), web, "1", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: Service is "sshd", which does not match nginx|php[0-9.]*-fpm`},
		{"one that matches at its beginning", "alice", "restart", restart("nginx; reboot"), web, "1", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: Service is "nginx; reboot", which does not match nginx|php[0-9.]*-fpm`},
		{"one that matches at its end", "alice", "restart", restart("reboot\nnginx"), web, "1", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: Service is "reboot\nnginx", which does not match nginx|php[0-9.]*-fpm`},
		{"a newline after it", "alice", "restart", restart("nginx\n"), web, "1", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: Service is "nginx\n", which does not match nginx|php[0-9.]*-fpm`},
		{"one that is known on the node alone", "alice", "restart", restart("{{ssm:/service}}"), web, "1", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: Service is "{{ssm:/service}}", whose value is known on the node alone, and the grant limits it`},
		{"one that the grant does not limit", "alice", "restart", restart("nginx", "Tags", "anything"), web, "1", "allowed by grant web-restart"},
		{"one that the document does not have", "alice", "restart", restart("nginx", "Servce", "x"), web, "1", `not allowed: parameter Servce: no such parameter of restart (did you mean "Service"?); allowed: Map, Mode, Secret, Service, Tags, Times`},
		{"one that must be given", "alice", "restart", nil, web, "1", "not allowed: parameter Service: required; text"},
		{"a document without the limited parameters", "alice", "plain", nil, web, "2", "allowed by grant web-restart"},
		{"everything wrong", "alice", "restart", restart("sshd", "Mode", "stop"), db[:1], "3", `not allowed: grant db-all: it is for AWS-RunShellScript; grant web-restart: db-a is not among its nodes; grant web-restart: at most 2 at once, and not 3; grant web-restart: Mode is "stop", which does not match reload; grant web-restart: Service is "sshd", which does not match nginx|php[0-9.]*-fpm`},
	} {
		r := schema.Run{Document: tt.document, Parameters: tt.params, MaxConcurrency: tt.at}
		if got := Run(acme(), tt.who, r, tt.nodes, byRole).String(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// What a run leaves out is the document's default, which a grant that limits it must allow.
func TestLimitedParameters(t *testing.T) {
	for _, tt := range []struct {
		name, param, pattern string
		given                *schema.Argument // nil: left out
		want                 string           // words of the reason; empty where it is allowed
	}{
		{"a default that matches", "Mode", "reload|restart", nil, ""},
		{"one that does not", "Mode", "restart", nil, `the default of Mode is "reload", which does not match restart`},
		{"given instead of it", "Mode", "restart", argument("restart"), ""},
		{"a list by default", "Tags", "[ab]", nil, ""},
		{"of which one item does not match", "Tags", "a", nil, `the default of Tags is "b"`},
		{"a list that is given", "Tags", "[xy]", argument("x", "y"), ""},
		{"of which one item does not match", "Tags", "[xy]", argument("x", "xy", "y"), `Tags is "xy"`},
		{"an empty list is an empty text", "Tags", "[xy]+", &schema.Argument{Texts: schema.Texts{}}, `Tags is ""`},
		{"which may be allowed", "Tags", "[xy]*", &schema.Argument{Texts: schema.Texts{}}, ""},
		{"a map by default", "Map", ".*", nil, "a map of texts matches nothing"},
		{"a map that is given", "Map", ".*", &schema.Argument{Map: map[string]string{"a": "b"}}, "a map of texts matches nothing"},
		{"a number by default", "Times", "[0-5]", nil, ""},
		{"one that does not match", "Times", "[45]", nil, `the default of Times is "3"`},
		{"a default that is known on the node alone", "Secret", ".*", nil, "known on the node alone"},
		{"an expression that ends its group", "Mode", "x)|(?:reload", nil, "its pattern is not RE2"},
		{"one that is none", "Mode", "(", nil, "its pattern is not RE2"},
		{"one with flags", "Mode", "(?i)RELOAD", nil, ""},
		{"one that matches lines", "Mode", "(?m)^reload$", argument("reload\nreload"), `Mode is "reload\nreload"`},
		{"an empty one", "Mode", "", nil, "does not match"},
		{"an empty one for an empty text", "Mode", "", argument(""), ""},
		{"a parameter that the document does not have", "commands", "x", nil, ""},
	} {
		repo := acme()
		args := schema.Arguments{"Service": text("nginx")}
		if tt.given != nil {
			args[tt.param] = *tt.given
		}
		repo.Grants = map[string]schema.Grant{"g": {Who: []string{"alice"}, Run: &schema.GrantRun{Documents: []string{"restart"}, Targets: schema.Targets{All: true}, Parameters: map[string]string{tt.param: tt.pattern}}}}
		v := Run(repo, "alice", schema.Run{Document: "restart", Parameters: args, MaxConcurrency: "100%"}, nodesOf("web", 2), byRole)
		if v.Allowed() != (tt.want == "") || !strings.Contains(v.String(), tt.want) {
			t.Errorf("%s: %s, want %q", tt.name, v, tt.want)
		}
	}
}

func argument(s ...string) *schema.Argument { a := text(s...); return &a }

func TestOpen(t *testing.T) {
	web, db := node("web-a", "web"), node("db-a", "db")
	const hour = time.Hour
	for _, tt := range []struct {
		name string
		who  string
		s    Session
		node schema.Node
		want string
		open Opening
	}{
		{"a shell as the grant has it", "alice", Session{Kind: "shell"}, db, "allowed by grant db-shell", Opening{"postgres", 4 * hour}},
		{"for a shorter time", "alice", Session{Kind: "shell", RunAs: "postgres", Duration: hour}, db, "allowed by grant db-shell", Opening{"postgres", hour}},
		{"a forward", "alice", Session{Kind: "forward", Port: 5432, Duration: 4 * hour}, db, "allowed by grant db-shell", Opening{"postgres", 4 * hour}},
		{"by another grant", "alice", Session{Kind: "exec"}, web, "allowed by grant web-exec", Opening{"deploy", hour}},
		{"a kind that a grant does not have", "alice", Session{Kind: "exec"}, db, "not allowed: grant db-shell: it is for shell, forward; grant web-exec: db-a is not among its nodes", Opening{}},
		{"a port that a grant does not have", "alice", Session{Kind: "forward", Port: 22}, db, "not allowed: grant db-shell: it is for port 5432, and not 22; grant web-exec: it is for exec", Opening{}},
		{"root", "alice", Session{Kind: "shell", RunAs: "root"}, db, "not allowed: grant db-shell: a session of it is postgres's, and not root's; grant web-exec: it is for exec", Opening{}},
		{"too long", "alice", Session{Kind: "shell", Duration: 4*hour + time.Second}, db, "not allowed: grant db-shell: a session of it lasts at most 4h, and not 4h0m1s; grant web-exec: it is for exec", Opening{}},
		{"runs alone", "bob", Session{Kind: "shell"}, db, "not allowed: no grant lets bob open sessions; roles alone give no right to it", Opening{}},
		{"root and policy without a grant", "carol", Session{Kind: "shell"}, db, "not allowed: no grant lets carol open sessions; roles alone give no right to it", Opening{}},
		{"nobody", "mallory", Session{Kind: "shell"}, db, `not allowed: "mallory" is no signer of this fleet`, Opening{}},
		{"no kind", "alice", Session{}, db, `not allowed: "" is not one of shell, forward, exec`, Opening{}},
		{"a forward without a port", "alice", Session{Kind: "forward"}, db, "not allowed: a forward goes to a port from 1 to 65535, and not 0", Opening{}},
		{"a shell with one", "alice", Session{Kind: "shell", Port: 5432}, db, "not allowed: only a forward has a port", Opening{}},
		{"a time before now", "alice", Session{Kind: "shell", Duration: -1}, db, "not allowed: a session does not last -1ns", Opening{}},
		{"a node that stands alone", "alice", Session{Kind: "shell"}, schema.Node{Name: "db-a", Alone: true}, `not allowed: "db-a" is no node of the roster`, Opening{}},
	} {
		open, v := Open(acme(), tt.who, tt.s, tt.node, byRole)
		if v.String() != tt.want || open != tt.open {
			t.Errorf("%s:\n%s %+v\nwant\n%s %+v", tt.name, v, open, tt.want, tt.open)
		}
	}
	// What the loader refuses gives nothing here either.
	for name, g := range map[string]schema.Grant{
		"no user":  {Sessions: []schema.SessionKind{"shell"}, Targets: &schema.Targets{All: true}, MaxDuration: "1h"},
		"no nodes": {Sessions: []schema.SessionKind{"shell"}, RunAs: "x", MaxDuration: "1h"},
		"no time":  {Sessions: []schema.SessionKind{"shell"}, Targets: &schema.Targets{All: true}, RunAs: "x"},
	} {
		repo := acme()
		g.Who = []string{"alice"}
		repo.Grants = map[string]schema.Grant{"g": g}
		if open, v := Open(repo, "alice", Session{Kind: "shell"}, db, byRole); v.Allowed() || open != (Opening{}) {
			t.Errorf("%s: %s %+v", name, v, open)
		}
	}
}
