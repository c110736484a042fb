// Recipes of etcd's own Go client, as its documentation has them: watches that resume, leases kept
// alive, sessions, locks, elections, software transactional memory, namespaces, leasing, mirrors.
//
// Arguments: endpoints, CA, certificate, key. What it prints is the same on every etcd.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	"go.etcd.io/etcd/clientv3/leasing"
	"go.etcd.io/etcd/clientv3/mirror"
	"go.etcd.io/etcd/clientv3/namespace"
	"go.etcd.io/etcd/clientv3/ordering"
	"go.etcd.io/etcd/etcdserver/api/v3rpc/rpctypes"
	"go.etcd.io/etcd/pkg/transport"
)

func must(err error) {
	if err != nil {
		log.Output(2, err.Error())
		os.Exit(1)
	}
}

func connect() *clientv3.Client {
	tls := transport.TLSInfo{TrustedCAFile: os.Args[2], CertFile: os.Args[3], KeyFile: os.Args[4]}
	config, err := tls.ClientConfig()
	must(err)
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   strings.Split(os.Args[1], ","),
		TLS:         config,
		DialTimeout: 5 * time.Second,
	})
	must(err)
	return client
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	one, other := connect(), connect()
	defer one.Close()
	defer other.Close()
	watches(ctx, one)
	bigWatches(ctx, one)
	leases(ctx, one)
	locks(ctx, one, other)
	elections(ctx, one, other)
	transactions(ctx, one)
	namespaces(ctx, one)
	leasingClient(ctx, one, other)
	mirrors(ctx, one)
	fmt.Println("done")
}

func watches(ctx context.Context, client *clientv3.Client) {
	first, err := client.Put(ctx, "w/1", "a")
	must(err)
	start := first.Header.Revision
	changes := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(start),
		clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	created := <-changes
	fmt.Println("created", created.Created, len(created.Events))
	put(ctx, client, "w/1", "b")
	_, err = client.Txn(ctx).Then(clientv3.OpPut("w/2", "c"), clientv3.OpDelete("w/1")).Commit()
	must(err)
	for seen := 0; seen < 4; {
		for _, event := range (<-changes).Events {
			before := ""
			if event.PrevKv != nil {
				before = string(event.PrevKv.Value)
			}
			fmt.Println("event", event.Type, string(event.Kv.Key), string(event.Kv.Value),
				event.Kv.ModRevision-start, event.IsCreate(), before)
			seen++
		}
	}
	must(client.RequestProgress(ctx))
	progress := <-changes
	fmt.Println("progress", progress.IsProgressNotify())

	deletes := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithRev(start),
		clientv3.WithFilterPut())
	fmt.Println("only deletes", (<-deletes).Events[0].Type)

	ended, cancel := context.WithCancel(ctx)
	ending := client.Watch(ended, "w/none")
	cancel()
	_, open := <-ending
	fmt.Println("cancelled", open)

	_, err = client.Compact(ctx, start+1, clientv3.WithCompactPhysical())
	must(err)
	compacted := <-client.Watch(ctx, "w/1", clientv3.WithRev(start))
	fmt.Println("compacted", compacted.Err() == rpctypes.ErrCompacted,
		compacted.CompactRevision-start)
}

// A revision of several megabytes, in fragments that the client puts together.
func bigWatches(ctx context.Context, client *clientv3.Client) {
	value := strings.Repeat("v", 100_000)
	ops := []clientv3.Op{}
	for number := 0; number < 12; number++ {
		ops = append(ops, clientv3.OpPut(fmt.Sprintf("big/%02d", number), value))
	}
	first, err := client.Txn(ctx).Then(ops...).Commit()
	must(err)
	_, err = client.Txn(ctx).Then(ops...).Commit()
	must(err)
	changes := client.Watch(ctx, "big/", clientv3.WithPrefix(), clientv3.WithFragment(),
		clientv3.WithRev(first.Header.Revision), clientv3.WithPrevKV())
	seen := 0
	for seen < 24 {
		response := <-changes
		must(response.Err())
		seen += len(response.Events)
	}
	gone, err := client.Delete(ctx, "big/", clientv3.WithPrefix())
	must(err)
	fmt.Println("fragments", seen, gone.Deleted)
}

func leases(ctx context.Context, client *clientv3.Client) {
	lease, err := client.Grant(ctx, 3)
	must(err)
	_, err = client.Put(ctx, "leased", "x", clientv3.WithLease(lease.ID))
	must(err)
	kept, err := client.KeepAlive(ctx, lease.ID)
	must(err)
	for count := 0; count < 4; count++ {
		fmt.Println("kept alive", (<-kept).TTL)
	}
	left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	must(err)
	fmt.Println("keys", left.GrantedTTL, len(left.Keys), left.TTL > 0)
	_, err = client.Revoke(ctx, lease.ID)
	must(err)
	for range kept { // closed when the lease is gone
	}
	_, err = client.KeepAliveOnce(ctx, lease.ID)
	fmt.Println("gone", err == rpctypes.ErrLeaseNotFound, count(ctx, client, "leased"))

	short, err := client.Grant(ctx, 2)
	must(err)
	stored, err := client.Put(ctx, "short", "x", clientv3.WithLease(short.ID))
	must(err)
	expired := <-client.Watch(ctx, "short", clientv3.WithRev(stored.Header.Revision+1))
	fmt.Println("expired", expired.Events[0].Type)
}

func locks(ctx context.Context, one, other *clientv3.Client) {
	var order []string
	var guard sync.Mutex
	var all sync.WaitGroup
	inside := 0
	for number := 0; number < 6; number++ {
		client := one
		if number%2 == 1 {
			client = other
		}
		all.Add(1)
		go func() {
			defer all.Done()
			session, err := concurrency.NewSession(client, concurrency.WithTTL(20))
			must(err)
			defer session.Close()
			mutex := concurrency.NewMutex(session, "/mutex")
			must(mutex.Lock(ctx))
			guard.Lock()
			inside++
			order = append(order, fmt.Sprint(inside))
			guard.Unlock()
			held, err := client.Txn(ctx).If(mutex.IsOwner()).Then(clientv3.OpPut("n", "x")).Commit()
			must(err)
			guard.Lock()
			if !held.Succeeded {
				order = append(order, "not the owner")
			}
			inside--
			guard.Unlock()
			must(mutex.Unlock(ctx))
		}()
	}
	all.Wait()
	fmt.Println("locked", order)

	// Who dies with the lock held loses it with its lease.
	dying, err := concurrency.NewSession(one, concurrency.WithTTL(2))
	must(err)
	must(concurrency.NewMutex(dying, "/orphan").Lock(ctx))
	heir, err := concurrency.NewSession(other)
	must(err)
	mutex := concurrency.NewMutex(heir, "/orphan")
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	fmt.Println("in vain", mutex.Lock(short))
	cancel()
	dying.Orphan()
	must(mutex.Lock(ctx))
	fmt.Println("inherited", strings.HasPrefix(mutex.Key(), "/orphan/"))
	must(heir.Close())
	<-heir.Done()
	fmt.Println("closed", count(ctx, one, "/orphan"))
}

func elections(ctx context.Context, one, other *clientv3.Client) {
	first, err := concurrency.NewSession(one)
	must(err)
	second, err := concurrency.NewSession(other)
	must(err)
	a, b := concurrency.NewElection(first, "/elect"), concurrency.NewElection(second, "/elect")
	_, err = a.Leader(ctx)
	fmt.Println("nobody", err)
	watching, cancel := context.WithCancel(ctx)
	observed := b.Observe(watching)
	must(a.Campaign(ctx, "a"))
	fmt.Println("leads", string((<-observed).Kvs[0].Value))
	elected := make(chan error)
	go func() { elected <- b.Campaign(ctx, "b") }()
	must(a.Proclaim(ctx, "a again"))
	fmt.Println("leads", string((<-observed).Kvs[0].Value))
	must(a.Resign(ctx))
	must(<-elected)
	fmt.Println("leads", string((<-observed).Kvs[0].Value))
	leader, err := a.Leader(ctx)
	must(err)
	fmt.Println("leads", string(leader.Kvs[0].Value))
	resumed := concurrency.ResumeElection(second, "/elect", b.Key(), b.Rev())
	must(resumed.Proclaim(ctx, "resumed"))
	fmt.Println("leads", string((<-observed).Kvs[0].Value))
	cancel()
	must(first.Close())
	must(second.Close())
}

func transactions(ctx context.Context, client *clientv3.Client) {
	var all sync.WaitGroup
	for number := 0; number < 5; number++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for count := 0; count < 10; count++ {
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					stm.Put("stm", stm.Get("stm")+"x")
					return nil
				}, concurrency.WithIsolation(concurrency.SerializableSnapshot))
				must(err)
			}
		}()
	}
	all.Wait()
	got, err := client.Get(ctx, "stm")
	must(err)
	fmt.Println("transactions", len(got.Kvs[0].Value))
	nested, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Version("stm"), ">", 0)).Then(
		clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("nested", "x")}, nil),
		clientv3.OpGet("nested")).Commit()
	must(err)
	fmt.Println("nested", nested.Succeeded, len(nested.Responses))
	_, err = client.Txn(ctx).Then(clientv3.OpPut("d", "1"), clientv3.OpPut("d", "2")).Commit()
	fmt.Println("refused", err)
	_, err = client.Get(ctx, "")
	fmt.Println("refused", err)
	_, err = client.Get(ctx, "d", clientv3.WithRev(1<<40))
	fmt.Println("refused", err == rpctypes.ErrFutureRev)
}

func namespaces(ctx context.Context, client *clientv3.Client) {
	kv, watcher := namespace.NewKV(client.KV, "ns/"), namespace.NewWatcher(client.Watcher, "ns/")
	stored, err := kv.Put(ctx, "key", "value")
	must(err)
	event := <-watcher.Watch(ctx, "key", clientv3.WithRev(stored.Header.Revision))
	got, err := kv.Get(ctx, "k", clientv3.WithPrefix())
	must(err)
	fmt.Println("namespace", string(event.Events[0].Kv.Key), string(got.Kvs[0].Key),
		count(ctx, client, "ns/key"))
	ordered := ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error {
		return fmt.Errorf("went back in time")
	})
	for number := 0; number < 5; number++ {
		_, err = ordered.Get(ctx, "ns/key", clientv3.WithSerializable())
		if err != nil { // a follower may be behind: this is the recipe's answer to it
			number--
			time.Sleep(10 * time.Millisecond)
		}
	}
	fmt.Println("in order")
}

func leasingClient(ctx context.Context, one, other *clientv3.Client) {
	cached, closeCached, err := leasing.NewKV(one, "leasing/")
	must(err)
	defer closeCached()
	put(ctx, one, "cache", "1")
	for count := 0; count < 3; count++ {
		got, err := cached.Get(ctx, "cache")
		must(err)
		fmt.Println("cached", string(got.Kvs[0].Value))
	}
	rival, closeRival, err := leasing.NewKV(other, "leasing/")
	must(err)
	defer closeRival()
	_, err = rival.Put(ctx, "cache", "2") // takes the other's ownership away first
	must(err)
	got, err := cached.Get(ctx, "cache")
	must(err)
	fmt.Println("cached", string(got.Kvs[0].Value))
}

func mirrors(ctx context.Context, client *clientv3.Client) {
	for number := 0; number < 5; number++ {
		put(ctx, client, fmt.Sprint("mirror/", number), fmt.Sprint(number))
	}
	syncer := mirror.NewSyncer(client, "mirror/", 0)
	gets, errs := syncer.SyncBase(ctx)
	var keys []string
	for response := range gets {
		for _, kv := range response.Kvs {
			keys = append(keys, string(kv.Key))
		}
	}
	for err := range errs {
		must(err)
	}
	sort.Strings(keys)
	updates := syncer.SyncUpdates(ctx)
	put(ctx, client, "mirror/new", "x")
	fmt.Println("mirrored", keys, string((<-updates).Events[0].Kv.Key))
}

func put(ctx context.Context, client *clientv3.Client, key, value string) {
	_, err := client.Put(ctx, key, value)
	must(err)
}

func count(ctx context.Context, client *clientv3.Client, prefix string) int64 {
	got, err := client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(err)
	return got.Count
}
