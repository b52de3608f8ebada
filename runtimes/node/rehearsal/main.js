exports.main = async (parameters) => ({ parameters });
