import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { expect, test } from "vitest";

import { findForbiddenImports, judge } from "./import-rules.ts";

test.each([
  ["services/case/domain/a.ts", "./b.ts"],
  ["services/case/store/a.ts", "../domain/b.ts"],
  ["services/case/store/a.ts", "#libs/pg/b.ts"],
  ["services/case/store/a.ts", "pg"],
  ["services/audit/store/a.ts", "#libs/merkle/tree.ts"],
  ["services/audit/signer/a.ts", "../store/b.ts"],
  ["services/case/application/a.ts", "../store/b.ts"],
  ["services/case/application/a.ts", "#libs/fault/b.ts"],
  ["services/case/rpc/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["services/case/rpc/a.ts", "../application/b.ts"],
  ["services/case/relay/a.ts", "#libs/client/b.ts"],
  ["services/case/main.ts", "./rpc/a.ts"],
  ["services/case/relay/main.ts", "../rpc/a.ts"],
  ["services/case/rpc/a.ts", "../relay/b.ts"],
  ["services/case/main.test.ts", "./main.ts"],
  ["services/cli/token.ts", "#libs/client/b.ts"],
  ["services/cli/can-deploy.ts", "#contracts/can-deploy.ts"],
  ["services/cli/import/a.ts", "#services/case/domain/decide.ts"],
  ["services/cli/verify/a.ts", "#libs/merkle/b.ts"],
  ["services/cli/verify/a.ts", "#libs/gen/caseflow/event/v1/event_pb.ts"],
  ["libs/client/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["libs/rpc/a.ts", "#libs/gen/grpc/health/v1/health_pb.ts"],
  ["libs/contracts/a.ts", "#libs/gen/google/rpc/error_details_pb.ts"],
  ["contracts/relay/audit.test.ts", "#services/case/rpc/audit-recorder.ts"],
  ["libs/pg/a.ts", "./b.ts"],
  ["libs/merkle/a.ts", "./b.ts"],
  ["libs/merkle/a.ts", "node:crypto"],
  ["libs/merkle/a.test.ts", "fast-check"],
  ["test/a.test.ts", "#services/case/main.ts"],
])("%s may import %s", (path, specifier) => {
  expect(judge(path, specifier)).toBeUndefined();
});

test.each([
  ["services/case/domain/a.ts", "node:crypto"],
  ["services/cli/import/a.ts", "#services/case/store/b.ts"],
  ["services/cli/verify/a.ts", "#services/case/domain/decide.ts"],
  ["services/cli/verify/a.ts", "../find-service.ts"],
  ["services/cli/verify/a.ts", "#libs/client/b.ts"],
  ["services/cli/verify/a.ts", "#libs/gen/caseflow/audit/v1/audit_service_pb.ts"],
  ["services/cli/import/a.ts", "#services/audit/domain/b.ts"],
  ["services/local/a.ts", "#services/case/domain/b.ts"],
  ["services/case/domain/a.ts", "uuid"],
  ["services/case/domain/a.ts", "../store/b.ts"],
  ["services/case/domain/a.ts", "./../store/b.ts"],
  ["services/case/domain/a.ts", "#libs/fault/b.ts"],
  ["services/case/domain/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["services/case/store/a.ts", "../application/b.ts"],
  ["services/case/store/a.ts", "../rpc/b.ts"],
  ["services/case/store/a.ts", "#libs/rpc/b.ts"],
  ["services/case/store/a.ts", "#libs/gen/caseflow/event/v1/event_pb.ts"],
  ["services/case/application/a.ts", "../rpc/b.ts"],
  ["services/case/application/a.ts", "../relay/b.ts"],
  ["services/case/application/a.ts", "@connectrpc/connect"],
  ["services/case/application/a.ts", "#libs/gen/caseflow/event/v1/event_pb.ts"],
  ["services/case/rpc/a.ts", "../store/b.ts"],
  ["services/case/relay/a.ts", "#libs/gen/caseflow/audit/v1/audit_service_pb.ts"],
  ["services/case/relay/a.ts", "../application/b.ts"],
  ["services/audit/signer/a.ts", "../application/b.ts"],
  ["services/audit/signer/a.ts", "#libs/gen/caseflow/audit/v1/audit_service_pb.ts"],
  ["services/case/main.ts", "#services/audit/config.ts"],
  ["services/case/main.ts", "../audit/config.ts"],
  ["services/case/rpc/a.ts", "#services/audit/rpc/b.ts"],
  ["services/case/rpc/a.ts", "../main.ts"],
  ["services/case/rpc/a.ts", "#services/case/rpc/b.ts"],
  ["services/cli/token.ts", "#services/local/stack-file.ts"],
  ["services/cli/token.ts", "#services/case/main.ts"],
  ["services/case/main.ts", "#test/support/a.ts"],
  ["libs/pg/a.ts", "#services/case/domain/case.ts"],
  ["libs/pg/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["libs/pg/a.ts", "#libs/client/case-client.ts"],
  ["libs/pg/a.ts", "../fault/fault.ts"],
  ["libs/rpc/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["libs/rpc/a.ts", "#libs/fault/index.ts"],
  ["libs/contracts/a.ts", "#libs/gen/caseflow/cases/v1/case_pb.ts"],
  ["libs/contracts/a.ts", "#contracts/support/table.ts"],
  ["libs/merkle/a.ts", "node:fs"],
  ["libs/merkle/a.ts", "pg"],
  ["libs/merkle/a.ts", "#libs/fault/fault.ts"],
  ["libs/merkle/a.ts", "#libs/gen/caseflow/event/v1/event_pb.ts"],
  ["libs/merkle/a.ts", "#services/audit/domain/b.ts"],
  ["services/cli/case.ts", "#contracts/support/table.ts"],
  ["services/case/elsewhere/a.ts", "./b.ts"],
])("%s may not import %s", (path, specifier) => {
  expect(judge(path, specifier)).toBeTypeOf("string");
});

test.each([
  `import { a } from "node:fs";`,
  `import {\n  a,\n  b,\n} from "node:fs";`,
  `import type { A } from "node:fs";`,
  `import "node:fs";`,
  `export { a } from "node:fs";`,
  `export * from "node:fs";`,
  `const a = await import("node:fs");`,
  `type A = import("node:fs").Stats;`,
  `const a = require("node:fs");`,
])("a forbidden import is found in the form %j, with its line", async (line) => {
  await using tree = await plant({ "services/case/domain/a.ts": `// A rule.\n${line}\n` });
  expect(await findForbiddenImports(tree.root)).toEqual([
    "services/case/domain/a.ts:2: node:fs: domain imports nothing outside its folder",
  ]);
});

test("a barrel file is a fault by its name, and generated files are nobody's fault", async () => {
  await using tree = await plant({
    "libs/pg/index.ts": "export {};\n",
    "libs/gen/a_pb.ts": `import "../../services/case/main.ts";\n`,
  });
  expect(await findForbiddenImports(tree.root)).toEqual([
    "libs/pg/index.ts: a file is named after what it defines",
  ]);
});

async function plant(files: Record<string, string>) {
  const root = await mkdtemp(join(tmpdir(), "imports-"));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return { root, [Symbol.asyncDispose]: () => rm(root, { recursive: true }) };
}
