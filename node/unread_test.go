package node

import (
	"strings"
	"testing"
	"time"

	"postern/tenant"
)

// Mail that waits for a copy that cannot be read stays, whatever an operator
// pauses and resumes meanwhile; both reasons are shown.
func TestOperatorsPauseAndUnreadCopy(t *testing.T) {
	o, tn, _ := reconciled(t)
	ctx := t.Context()
	step := func(want string) {
		t.Helper()
		if err := o.step(ctx, o.cluster.State()); err != nil {
			t.Fatal(err)
		}
		if got := o.cluster.State().Tenant(tn.ID).Paused; got != want {
			t.Fatalf("paused %q, want %q", got, want)
		}
	}
	operator := func(reason string) {
		t.Helper()
		if err := o.pause(ctx, tn, reason); err != nil {
			t.Fatal(err)
		}
	}
	may := func() error { return o.MayDot(ctx, tn.ID, o.epoch(tn.ID)) }
	step("") // adopts
	if err := may(); err != nil {
		t.Fatalf("no dot although all is read: %v", err)
	}
	o.set(tn.ID, o.epoch(tn.ID), false)
	step(tenant.ReasonUnread)
	operator("its source moves")
	step("its source moves; " + tenant.ReasonUnread)
	operator("") // resumes: not even in this moment may anything leave
	if err := may(); err == nil {
		t.Error("a dot before the unread copy is known")
	}
	if err := o.MayAct(ctx, tn.ID, o.epoch(tn.ID)); err != nil {
		t.Errorf("new mail is not accepted: %v", err)
	}
	step(tenant.ReasonUnread)
	long := strings.Repeat("é", 240)
	operator(long)
	step(tenant.WithUnread(long))
	o.set(tn.ID, o.epoch(tn.ID), true) // it was read
	step(strings.TrimSuffix(tenant.WithUnread(long), "; "+tenant.ReasonUnread))
	operator("")
	if err := may(); err != nil {
		t.Errorf("no dot although all was read: %v", err)
	}
	o.set(tn.ID, o.epoch(tn.ID), false)
	step(tenant.ReasonUnread)
	o.set(tn.ID, o.epoch(tn.ID), true)
	step("")
}

// A copy on a node that was removed as lost is waited for no more.
func TestAPausedTenantWaitsForNoRemovedNode(t *testing.T) {
	o, tn, _ := reconciled(t)
	o.partial[tn.ID] = time.Now().Add(-2 * againEvery)
	lone := *tn // another node wrote it last, alone
	lone.Epoch, lone.Copies, lone.Ends = 3, nil, []tenant.End{{Epoch: 2, Node: 77}}
	st := o.cluster.State()
	if others, _ := lone.Holders(tn.Owner); len(others) != 1 || st.Node(77) != nil {
		t.Fatalf("needs %v", others)
	}
	if !o.readable(st, &lone, tn.Owner) {
		t.Error("it waits for a node that nobody knows")
	}
}
