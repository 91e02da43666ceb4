// Reads {name: query} as JSON from standard input; writes {name: [what Kusto's parser says]} to standard output.
// Only what the queries use is declared of the tables: https://learn.microsoft.com/azure/azure-monitor/reference/tables-index
'use strict';
const { readFileSync } = require('node:fs');
require('@kusto/language-service-next/bridge.min.js');
require('@kusto/language-service-next/Kusto.Language.Bridge.min.js');

const { KustoCode, GlobalState } = Kusto.Language;
const { DatabaseSymbol, TableSymbol } = Kusto.Language.Symbols;

const common = 'timestamp: datetime, operation_Id: string, itemCount: int, customDimensions: dynamic';
const tables = {
  traces: `${common}, message: string, severityLevel: int`,
  exceptions: `${common}, type: string, problemId: string, outerMessage: string, innermostMessage: string, severityLevel: int`,
  requests: `${common}, id: string, name: string, duration: real, success: bool, resultCode: string`,
  dependencies: `${common}, id: string, name: string, duration: real, success: bool, resultCode: string`,
  customMetrics: `${common}, name: string, value: real, valueCount: int, valueSum: real, valueMin: real, valueMax: real, cloud_RoleInstance: string`,
  AzureMetrics: 'TimeGenerated: datetime, _ResourceId: string, ResourceProvider: string, ResourceId: string, MetricName: string, Total: real, Count: real, Maximum: real, Minimum: real, Average: real',
  AppTraces: 'TimeGenerated: datetime, _ResourceId: string, Message: string, Properties: dynamic, OperationId: string, SeverityLevel: int',
  _LogOperation: 'TimeGenerated: datetime, _ResourceId: string, Category: string, Operation: string, Level: string, Detail: string',
  AZMSRunTimeAuditLogs: 'TimeGenerated: datetime, _ResourceId: string, ActivityName: string, AuthType: string, AuthKey: string, ClientIp: string, Status: string, Count: int',
  ACSOptOutManagementOperations: 'TimeGenerated: datetime, _ResourceId: string, OperationName: string, CallerIpAddress: string, ResultType: string, ResultSignature: string',
};

const symbols = Object.entries(tables).map(([name, columns]) => TableSymbol.From(`(${columns})`).WithName(name));
const globals = GlobalState.Default.WithDatabase(new DatabaseSymbol.$ctor1('workspace', symbols));

const answers = {};
for (const [name, query] of Object.entries(JSON.parse(readFileSync(0, 'utf8')))) {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  answers[name] = Array.from({ length: found.Count }, (_, at) => `${found.getItem(at).Code}: ${found.getItem(at).Message}`);
}
process.stdout.write(JSON.stringify(answers));
