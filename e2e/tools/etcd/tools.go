//go:build tools

// Package tools names the programs of etcd that e2e/etcd runs, so that go.mod and go.sum pin them and
// all that they are made of. etcd's own modules have replace directives, which `go install` refuses.
package tools

import (
	_ "go.etcd.io/etcd/etcdctl/v3"
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
