package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"postern/node/admin"
	"postern/node/queue"
	"postern/tenant"
)

const (
	// dataPage is how many messages, or addresses, one answer tells of.
	dataPage = 50
	// dataBody is how much of bodies one answer has.
	dataBody = 4 << 20
)

var _ admin.TenantData = (*views)(nil)

// Data implements admin.TenantData: messages with their bodies, then suppressed
// addresses. A place is "m ID", "b ID OFFSET" within a body, or "s ADDRESS".
func (v *views) Data(_ context.Context, t tenant.ID, after string) (items []admin.DataItem, next string, err error) {
	word, rest, _ := strings.Cut(after, " ")
	switch word {
	case "", "m":
		return v.dataMessages(t, rest)
	case "b":
		id, offset, err := dataOffset(rest)
		if err != nil || id.Tenant != t {
			return nil, "", fmt.Errorf("%w: no such place", admin.ErrNotFound)
		}
		item, next, err := v.dataBody(id, offset)
		return item, next, err
	case "s":
		return v.dataSuppressed(t, rest)
	}
	return nil, "", fmt.Errorf("%w: no such place", admin.ErrNotFound)
}

// dataOffset reads "ID OFFSET".
func dataOffset(text string) (queue.ID, int64, error) {
	name, number, _ := strings.Cut(text, " ")
	id, err := queue.ParseID(name)
	if err != nil {
		return id, 0, err
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err == nil && n < 0 {
		err = errors.New("a negative offset")
	}
	return id, n, err
}

// dataMessages tells of some messages; of the first whose body does not fit any
// more it tells alone what follows.
func (v *views) dataMessages(t tenant.ID, behind string) (items []admin.DataItem, next string, err error) {
	var last queue.ID
	if behind != "" {
		if last, err = queue.ParseID(behind); err != nil || last.Tenant != t {
			return nil, "", fmt.Errorf("%w: no such place", admin.ErrNotFound)
		}
	}
	ids, err := v.node.queue.IDs(t, last, dataPage)
	if err != nil {
		return nil, "", err
	}
	if len(ids) == 0 {
		return nil, "s", nil
	}
	st, size := v.node.cluster.State(), 0
	for _, id := range ids {
		trace, err := v.node.queue.Trace(id)
		if errors.Is(err, queue.ErrNotFound) {
			last = id
			continue // it expired meanwhile
		}
		if err != nil {
			return nil, "", err
		}
		text, err := json.Marshal(viewTrace(st, trace))
		if err != nil {
			return nil, "", err
		}
		items = append(items, admin.DataItem{Kind: "message", ID: id.String(), Data: text})
		size += len(text)
		body, next, err := v.dataBody(id, 0)
		if err != nil {
			return nil, "", err
		}
		items, last = append(items, body...), id
		for _, b := range body {
			size += len(b.Body)
		}
		if strings.HasPrefix(next, "b ") || size >= dataBody {
			return items, next, nil
		}
	}
	return items, "m " + last.String(), nil
}

// dataBody is a piece of a message that waits; what ended has none.
func (v *views) dataBody(id queue.ID, offset int64) (items []admin.DataItem, next string, err error) {
	next = "m " + id.String()
	body, err := v.node.queue.Body(id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, next, nil
	}
	if err != nil {
		return nil, "", err
	}
	defer body.Close()
	if _, err := io.CopyN(io.Discard, body, offset); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, next, nil
		}
		return nil, "", err
	}
	piece, err := io.ReadAll(io.LimitReader(body, dataBody))
	if err != nil {
		return nil, "", err
	}
	if offset += int64(len(piece)); offset < body.Size() {
		next = "b " + id.String() + " " + strconv.FormatInt(offset, 10)
	}
	return []admin.DataItem{{Kind: "body", ID: id.String(), Body: piece}}, next, nil
}

func (v *views) dataSuppressed(t tenant.ID, behind string) (items []admin.DataItem, next string, err error) {
	all, next, err := v.Suppressions(context.Background(), t, behind, dataPage)
	if err != nil {
		return nil, "", err
	}
	for _, x := range all {
		text, err := json.Marshal(x)
		if err != nil {
			return nil, "", err
		}
		items = append(items, admin.DataItem{Kind: "suppression", Data: text})
	}
	if next != "" {
		next = "s " + next
	}
	return items, next, nil
}
