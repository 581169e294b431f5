package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/node/admin"
	"postern/node/lab"
)

// submit sends one mail to a node until it says 250.
func (m *mailRig) submit(x *rigNode, s lab.Sender, to string) {
	m.t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = m.trySubmit(x, s, to); last == nil {
			return
		}
	}
	m.t.Fatalf("%s is not accepted at %s: %v", to, x.name, last)
}

func (m *mailRig) trySubmit(x *rigNode, s lab.Sender, to string) error {
	conn, err := net.DialTimeout("tcp", m.place.at(x.i, portSubmission), 5*time.Second)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, m.roots.ServerName)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	defer c.Close()
	if err := c.StartTLS(m.roots); err != nil {
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", s.Username, s.Password, m.roots.ServerName)); err != nil {
		return err
	}
	if err := errors.Join(c.Mail(s.From), c.Rcpt(to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	body := strings.Repeat("to "+to+" from "+s.From+"\r\n", 60)
	fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: hello\r\nMessage-ID: <%d.%s>\r\n\r\n%s", s.From, to, time.Now().UnixNano(), s.From, body)
	return errors.Join(w.Close(), c.Quit())
}

// speaking names the files of nodes that have any of the words.
func speaking(t *testing.T, nodes []*rigNode, words ...string) (all []string) {
	t.Helper()
	for _, x := range nodes {
		err := filepath.WalkDir(x.dir, func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) || err == nil && d.IsDir() {
				return nil
			}
			if err != nil {
				return err
			}
			b, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) { // of a running node
				return nil
			}
			for _, w := range words {
				if i := bytes.Index(b, []byte(w)); i >= 0 {
					rel, _ := filepath.Rel(filepath.Dir(x.dir), name)
					all = append(all, fmt.Sprintf("%s: %q", rel, b[max(i-40, 0):min(i+40, len(b))]))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Real processes: a tenant with mail waiting and mail delivered is erased while
// one node is down and another is killed in the midst. When all are back, no file
// of any node has one of its addresses, the other tenant has all it had, the
// journals hold, and a backup from before brings nothing back.
func TestEraseAcrossNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("real processes")
	}
	m := newMailRig(t, loopback(t), 3, 2)
	api := func(x *rigNode) *admin.Client { return x.api }
	first, other := m.tenants[0], m.tenants[1]
	for i, x := range m.nodes {
		m.submit(x, first.daily, fmt.Sprintf("done-%d-qzx1@inbox.test", i))
		m.submit(x, other.daily, fmt.Sprintf("done-%d-qzx2@inbox.test", i))
	}
	m.submit(m.nodes[0], first.daily, "gone-qzx1@nobody.test")
	waits := func(x *rigNode, name string, n int) func() bool {
		return func() bool {
			v, err := api(x).Tenant(t.Context(), name)
			return err == nil && v.Messages != nil && *v.Messages == n
		}
	}
	eventually(t, patience, "the mail to leave", waits(m.nodes[0], first.name, 0))
	eventually(t, patience, "the other's mail to leave", waits(m.nodes[0], other.name, 0))
	for _, x := range []string{first.name, other.name} {
		if _, err := api(m.nodes[1]).PauseTenant(t.Context(), x, "to look at what waits"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		m.submit(m.nodes[i%3], first.daily, fmt.Sprintf("wait-%d-qzx1@inbox.test", i))
		m.submit(m.nodes[i%3], other.daily, fmt.Sprintf("wait-%d-qzx2@inbox.test", i))
	}
	m.settled(patience)
	backup, err := api(m.nodes[0]).Backup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"qzx1", "t1.test", "t1.relay.test"}
	if len(speaking(t, m.nodes, words[0])) < 2 || len(speaking(t, m.nodes, words[1])) < 3 {
		t.Fatal("the nodes have nothing of the tenant before")
	}

	m.dataOf(m.nodes[2], first.name, "qzx1", "qzx2", "t2.test", "tenant t2")

	leader := m.leader()
	away, killed := m.nodes[(leader.i+1)%3], m.nodes[(leader.i+2)%3]
	m.kill(away)
	if _, err := api(killed).EraseTenant(t.Context(), first.name, admin.Erase{}); err == nil {
		t.Fatal("a tenant whose mail waits is erased without a word")
	}
	eventually(t, patience, "the erasing to begin", func() bool {
		x, err := api(killed).EraseTenant(t.Context(), first.name, admin.Erase{Purge: true})
		return err == nil && len(x.Left) == 3
	})
	m.kill(killed)
	m.start(killed)
	m.ready(killed)
	erasure := func(x *rigNode) admin.Erasure {
		all, err := api(x).Erasures(t.Context())
		if err != nil || len(all.Items) != 1 {
			return admin.Erasure{}
		}
		return all.Items[0]
	}
	eventually(t, patience, "two nodes to be done", func() bool { return slices.Equal(erasure(leader).Left, []string{away.name}) })
	if left := speaking(t, []*rigNode{leader, killed}, words...); len(left) > 0 {
		t.Fatalf("two nodes say they are done and have\n%s", strings.Join(left, "\n"))
	}
	m.start(away)
	m.ready(away)
	eventually(t, patience, "all nodes to be done", func() bool { return erasure(leader).Done != nil })
	if left := speaking(t, m.nodes, words...); len(left) > 0 {
		t.Fatalf("all nodes say they are done and have\n%s", strings.Join(left, "\n"))
	}
	if text := string(m.verb(away, "tenant", "erase", first.name, "--status")); !strings.Contains(text, "no node has anything of it") {
		t.Error(text)
	}
	// The other tenant has all it had.
	if _, err := api(leader).PauseTenant(t.Context(), other.name, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the other's mail to leave", waits(leader, other.name, 0))
	for _, x := range m.nodes {
		c, err := api(x).CheckJournal(t.Context())
		if err != nil || !c.OK || c.Files == nil || c.Files.Broken != nil {
			t.Errorf("journal of %s: %+v %v", x.name, c, err)
		}
	}
	m.restoreErased(leader, backup, first.name, words)
}

// dataOf has all that is kept of a tenant written to a file, which has its mail
// and nothing of the other.
func (m *mailRig) dataOf(x *rigNode, name, mine string, others ...string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "data.tar.gz")
	m.verb(x, "tenant", "data", name, "--to", file)
	f, err := os.Open(file)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		m.t.Fatal(err)
	}
	files, all := map[string]string{}, ""
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			m.t.Fatal(err)
		}
		text, err := io.ReadAll(t)
		if err != nil {
			m.t.Fatal(err)
		}
		files[h.Name], all = string(text), all+string(text)
	}
	bodies := 0
	for name, text := range files {
		if strings.HasSuffix(name, ".eml") && strings.Contains(text, mine) && strings.Contains(text, "Subject: hello") {
			bodies++
		}
	}
	if bodies != 12 { // six wait, on two nodes each
		m.t.Errorf("%d messages in the file", bodies)
	}
	for _, want := range []string{"done-0-" + mine, "gone-" + mine, "RCPT TO", `"kind":"suppression"`, `"kind":"account"`, `"kind":"journal"`} {
		if !strings.Contains(all, want) {
			m.t.Errorf("%q is not in the file", want)
		}
	}
	for _, other := range others {
		if i := strings.Index(all, other); i >= 0 {
			m.t.Errorf("the other tenant's %q is in the file: %s", other, all[max(i-100, 0):min(i+100, len(all))])
		}
	}
	// Twice to the same file is refused, and leaves it.
	if cmd := m.command(x, "tenant", "data", name, "--to", file); cmd.Run() == nil {
		m.t.Error("a file that is there is written over")
	}
}

// restoreErased founds the cluster anew from a backup that has the tenant.
func (m *mailRig) restoreErased(x *rigNode, backup []byte, name string, words []string) {
	m.t.Helper()
	for _, n := range m.nodes {
		m.end(n)
	}
	file := filepath.Join(m.t.TempDir(), "old.backup")
	if err := os.WriteFile(file, backup, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.verb(x, "restore", file, "--yes")
	if len(speaking(m.t, []*rigNode{x}, words[1])) == 0 {
		m.t.Fatal("the backup brings nothing back, so this proves nothing")
	}
	m.start(x)
	m.ready(x)
	eventually(m.t, patience, "the tenant to be erased again", func() bool {
		all, err := x.api.Erasures(m.t.Context())
		return err == nil && len(all.Items) == 1 && !slices.Contains(all.Items[0].Left, x.name)
	})
	if _, err := x.api.Tenant(m.t.Context(), name); err == nil {
		m.t.Error("the tenant is back")
	}
	if left := speaking(m.t, []*rigNode{x}, words...); len(left) > 0 {
		m.t.Errorf("after the restore there is\n%s", strings.Join(left, "\n"))
	}
}
