// A handler as AWS Lambda calls one: what it returns is the answer.
exports.handler = async (event, context) => {
  if (!Array.isArray(event?.numbers)) throw new TypeError("send numbers: a list");
  console.log("adding", event.numbers.length, "numbers");
  return {
    sum: event.numbers.reduce((sum, each) => sum + each, 0),
    request: context.awsRequestId,
  };
};
