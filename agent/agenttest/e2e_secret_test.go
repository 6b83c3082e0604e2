package agenttest

import (
	"strings"
	"testing"

	"filippo.io/age"
)

// aSecretOnAHost puts a secret into the policy of a host that follows it already, by the program alone, and has it written.
func aSecretOnAHost(t *testing.T, h *Host) {
	const value = "canary-hunter2-of-a-host"
	line := h.MustExec("dunlin", "node", "line", "--tags", "role=db")
	_, id, _ := strings.Cut(line, `"id":"`)
	h.MustExec("mkdir", "-p", policyDir+"/nodes")
	h.Write(policyDir+"/nodes/"+id[:2]+".jsonl", line, 0o644)
	var recovery []string
	for range 2 {
		key, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		h.Write("/root/recovery.key", key.String()+"\n", 0o600)
		recovery = append(recovery, `"`+key.Recipient().String()+`"`)
	}
	h.Write(policyDir+"/fleet.cue", h.Read(policyDir+"/fleet.cue")+"\nfleet: recovery: ["+strings.Join(recovery, ", ")+"]\n", 0o644)
	put := func(value string) {
		t.Helper()
		h.Write("/root/value", value+"\n", 0o600)
		h.MustExec("dunlin", "param", "put", "/app/password", "--repo", policyDir, "--type", "SecureString", "--target", "tag:role=db", "--value-file", "/root/value")
		h.MustExec("rm", "/root/value")
	}
	put(value)
	h.Write(policyDir+"/policies/secret.cue", "package fleet\n\npolicy: secret: {targets: tags: role: \"db\", files: \"/etc/app.password\": {contentFrom: parameter: \"/app/password\", owner: \"daemon\"}}\n", 0o644)
	a := reconcile(t, h, 0)
	if got := a.result("file:/etc/app.password"); got != "Changed" {
		t.Errorf("the file made of a secret: %q, want Changed", got)
	}
	if got := h.MustExec("stat", "-c", "%a %U", "/etc/app.password") + h.Read("/etc/app.password"); got != "600 daemon\n"+value {
		t.Errorf("/etc/app.password is %q", got)
	}
	unchanged(t, h)
	put(value + "2")
	reconcile(t, h, 0)
	if got := h.Read("/etc/app.password"); got != value+"2" {
		t.Errorf("after a new version /etc/app.password is %q", got)
	}
	if got := h.MustExec("dunlin", "param", "get", "/app/password", "--reveal", "--repo", policyDir); got != value+"2\n" {
		t.Errorf("the host reads %q", got)
	}
	if got := h.MustExec("dunlin", "param", "get", "/app/password:1", "--reveal", "--repo", policyDir, "--identity", "/root/recovery.key"); got != value+"\n" {
		t.Errorf("recovery reads %q", got)
	}
	// Nothing on the host has the value but the file.
	if out, _, _ := h.Exec("grep", "-rlF", value, "/etc", "/var/lib/dunlin", "/var/log", "/tmp", "/root", policyDir); out != "/etc/app.password\n" {
		t.Errorf("the value is in %q", out)
	}
	// An ordinary user is told why it cannot be told.
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "dunlin", "reconcile", "--repo", policyDir, "--dry-run"}
	if out, errs, code := h.Exec(nobody...); code == 0 && strings.Contains(out, "would be created") || strings.Contains(out+errs, value) {
		t.Errorf("an ordinary user's dry run: exit %d, %s%s", code, out, errs)
	}
}
