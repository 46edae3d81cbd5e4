//go:build tools

// Package tools names the programs of containerd that e2e/kubernetes runs, so that go.mod and go.sum pin
// them and all that they are made of.
package tools

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/v2/cmd/ctr"
)
